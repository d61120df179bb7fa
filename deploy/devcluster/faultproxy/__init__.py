"""A reverse proxy that misbehaves on command.

One instance stands between the daemon and the API server, another between the API server and the
daemon's audit sink. It terminates TLS, speaks HTTP/1.1 on both sides, forwards the caller's bearer
token (a client certificate cannot pass, so it can be lent the caller's to show to the upstream),
streams watches unbuffered, counts every request, and applies faults that a test adds through a
control API on loopback:

==========  =====================================================================================
delay       the request (or its answer) is late by so many seconds
hold        the request (or its answer) waits until it is released, even if the caller is gone
drop        the connection is torn down, with the request not forwarded or already in effect
respond     the answer is made up; nothing is forwarded
kill        a process gets SIGKILL: before the request is forwarded, after it took effect but
            before its answer, or once the answer has arrived
==========  =====================================================================================

Connection upgrades (exec, port-forward) are not supported: nothing behind these proxies uses them.
"""
