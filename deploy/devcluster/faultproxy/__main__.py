"""``python -m faultproxy``: one proxy as a process of its own, until SIGTERM.

When it listens it prints one line of JSON: ``{"listen": PORT, "control": PORT}``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import ssl
from contextlib import AsyncExitStack

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

from .control import control_app
from .proxy import Proxy

CONNECT_SECONDS = 5.0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="faultproxy", description="A proxy that can misbehave.")
    parser.add_argument("--upstream", type=URL, required=True, help="where requests go")
    parser.add_argument("--upstream-ca", help="CA bundle that signs the upstream's certificate")
    parser.add_argument("--upstream-cert", help="client certificate to show to the upstream")
    parser.add_argument("--upstream-key", help="its private key")
    parser.add_argument("--cert", help="server certificate to present; without: plain HTTP")
    parser.add_argument("--key", help="its private key")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--control-port", type=int, default=0, help="on loopback; 0: any free one")
    return parser.parse_args()


async def serve(args: argparse.Namespace) -> None:
    """Listen, say where, and wait for SIGTERM or SIGINT."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            ClientSession(
                connector=TCPConnector(limit=0, ssl=_upstream_tls(args)),
                timeout=ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                auto_decompress=False,
            )
        )
        proxy = Proxy(upstream=args.upstream, session=session)
        app = web.Application(client_max_size=0)  # no limit: what may pass is the upstream's choice
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        listen = await _listen(stack, app, args.host, args.port, _server_tls(args))
        control = await _listen(stack, control_app(proxy), "127.0.0.1", args.control_port, None)
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        print(json.dumps({"listen": listen, "control": control}), flush=True)
        await stopped.wait()


async def _listen(
    stack: AsyncExitStack, app: web.Application, host: str, port: int, tls: ssl.SSLContext | None
) -> int:
    """Serve ``app`` until the stack unwinds; the port it got."""
    # Bodies are passed on as they came, so they must not be unpacked on the way in; a stopping
    # proxy does not wait for watches, which never end.
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port, ssl_context=tls).start()
    bound: int = runner.addresses[0][1]
    return bound


def _server_tls(args: argparse.Namespace) -> ssl.SSLContext | None:
    if args.cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(args.cert, args.key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _upstream_tls(args: argparse.Namespace) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=args.upstream_ca)
    if args.upstream_cert is not None:
        context.load_cert_chain(args.upstream_cert, args.upstream_key)
    return context


if __name__ == "__main__":
    asyncio.run(serve(parse()))
