"""`jude serve`: the embedding server, until stopped."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import asdict
from typing import Any

from jude.encoder import EncoderSpec
from jude.entities import load_entities
from jude.errors import TerminalSettingsError
from jude.observe.logs import configure_logs, log_event
from jude.settings import EncoderSettings, Settings
from jude.settings.reading import validated
from jude.stream.opening import encoder_spec

_LOG = logging.getLogger("jude.cli.serve")
_SWITCH_SECONDS = 0.0005  # of the interpreter, between threads: a core of the model waits for the thread that feeds it


def serve(read: Callable[[], Settings], say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; SIGHUP reads the settings again and swaps the models. Raises JudeError."""
    settings = read()
    configure_logs(settings.log.format, level=settings.log.level)
    sys.setswitchinterval(_SWITCH_SECONDS)
    asyncio.run(_serve(settings, read, say))


def specs_of(settings: Settings) -> Mapping[str, EncoderSpec]:
    """Alias -> model. Raises TerminalSettingsError for a model that a server cannot serve."""
    entities = load_entities(settings.entities.folder)
    specs = {}
    for alias, differing in {"current": {}, **settings.serving.also}.items():
        spec = encoder_spec(_changed(settings.encoder, alias, differing), entities)
        if spec.kind == "grpc":
            raise TerminalSettingsError("encoder.kind is grpc: a server needs a model of its own. Name its kind.")
        specs[alias] = spec
    return specs


def _changed(encoder: EncoderSettings, alias: str, differing: Mapping[str, Any]) -> EncoderSettings:
    if not differing:
        return encoder
    return validated(EncoderSettings, {**asdict(encoder), **differing}, {(): f"serving.also.{alias}"})


async def _serve(settings: Settings, read: Callable[[], Settings], say: Callable[[str], None]) -> None:
    from jude.serving.server import Server

    specs = specs_of(settings)
    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    server = Server(settings.serving)
    if not await _done_before(stop, server.start(specs)):
        return  # nobody was served: a model that loads for minutes need not be waited for
    served = ", ".join(model.model_version for model, _ in server.shelf.versions())
    say(f"Serving {served} on {settings.serving.host}:{server.port}. Ctrl-C ends it.")
    reloader = asyncio.create_task(_reload_when_told(server.reload, read, again))
    await stop.wait()
    reloader.cancel()
    await server.drain()


async def _done_before(stop: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Do the work, or give up on it when a stop is asked for; tell which. Raises what the work raises."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        await working
        return True
    working.cancel()
    return False


async def _reload_when_told(
    reload: Callable[[Mapping[str, EncoderSpec]], Awaitable[None]], read: Callable[[], Settings], again: asyncio.Event
) -> None:
    """Swap the models at every SIGHUP; settings that do not fit leave everything as it is."""
    while True:
        await again.wait()
        again.clear()
        try:
            await reload(specs_of(read()))
            log_event(_LOG, logging.INFO, "reloaded")
        except Exception:  # a full disk or GPU, too: the next SIGHUP must find somebody who listens
            _LOG.exception("reload refused: nothing changed")
