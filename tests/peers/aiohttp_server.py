"""A server on aiohttp for the tests of the client: prints its address, and ends with its input."""

import asyncio
import sys

from aiohttp import BasicAuth, web


async def echo(request):
    is_form = request.content_type == "application/x-www-form-urlencoded"
    return web.json_response({
        "method": request.method,
        "query": dict(request.query),
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "json": await request.json() if request.content_type == "application/json" else None,
        "form": dict(await request.post()) if is_form else None,
    })


async def back(request):
    """Sends the body back as it comes."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for chunk in request.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response


async def words(request):
    response = web.Response(text="word " * 10_000)
    if request.query.get("coding") == "gzip":
        response.enable_compression(web.ContentCoding.gzip)
    return response


async def login(request):
    response = web.HTTPFound("/who")
    response.set_cookie("name", "somebody")
    raise response


async def who(request):
    return web.Response(text=request.cookies.get("name", "nobody"))


async def private(request):
    header = request.headers.get("Authorization")
    if header is None:
        raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Basic"})
    auth = BasicAuth.decode(header)
    if (auth.login, auth.password) != ("me", "pass"):
        raise web.HTTPForbidden()
    return web.Response(text="welcome " + auth.login)


async def breaks(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"the beginning")
    request.transport.close()
    return response


async def main():
    app = web.Application()
    app.router.add_route("*", "/echo", echo)
    app.router.add_post("/back", back)
    app.router.add_get("/words", words)
    app.router.add_get("/login", login)
    app.router.add_get("/who", who)
    app.router.add_get("/private", private)
    app.router.add_get("/breaks", breaks)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("http://%s:%d" % site._server.sockets[0].getsockname()[:2], flush=True)
    # Whoever started this is gone when its end of the pipe is.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
