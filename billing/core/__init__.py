"""Pure metering: integers in, integers out. Times are epoch seconds (UTC), periods half-open."""
