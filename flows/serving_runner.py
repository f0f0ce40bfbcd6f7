"""Prefect's runner, made to outlive a server that is away, and to give back what it was at."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Self, TypeAlias
from uuid import UUID

import httpx
from prefect._internal.observers import FlowRunCancellingObserver
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging import get_logger
from prefect.runner import Runner
from prefect.runner import runner as runner_module

from flows import logs
from flows.automations import MOST_STARTS
from flows.zombies import HOST, at_work, send_back

_Poll: TypeAlias = Callable[..., Coroutine[Any, Any, None]]
_ProposePending: TypeAlias = Callable[[FlowRun], Coroutine[Any, Any, bool]]
_ProposeCrashed: TypeAlias = Callable[..., Coroutine[Any, Any, State[Any] | None]]
_OBSERVER = "FlowRunCancellingObserver"
_SECONDS_TO_ASK = 20.0
_PAUSE = timedelta(seconds=30)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Let a record pass that says that the server went away, as one line."""
    record.exc_info = None
    return True


def _hush(_line: str) -> None:
    """Say nothing."""


class StayingObserver(FlowRunCancellingObserver):
    """Looks for runs that are to be cancelled, also after the server was away."""

    async def _check_for_cancelled_flow_runs(self) -> None:
        await staying(super()._check_for_cancelled_flow_runs)()


class ServingRunner(Runner):
    """Prefect's runner, which stays when the server goes, and ends well when it is told to."""

    interrupted: tuple[FlowRun, ...] = ()

    async def __aenter__(self) -> Self:
        """Prefect's own gives up, and kills its runs, after three polls without an answer.

        It also stops looking for runs that are to be cancelled, for good.
        """
        # It may begin to poll while it is entered, so that only its class can be replaced.
        runner_module.FlowRunCancellingObserver = StayingObserver  # type: ignore[attr-defined]
        get_logger(_OBSERVER).addFilter(_without_traceback)
        await super().__aenter__()
        poller = self._scheduled_run_poller
        poll = staying(poller._get_and_submit_flow_runs, get_logger("runner").warning)
        poller._get_and_submit_flow_runs = poll  # type: ignore[method-assign]
        proposer = self._state_proposer
        proposer.propose_pending = self._signing(proposer.propose_pending)  # type: ignore[method-assign,assignment]
        crashed = self._starting_again(proposer.propose_crashed)
        proposer.propose_crashed = crashed  # type: ignore[method-assign]
        return self

    def _signing(self, claim: _ProposePending) -> _ProposePending:
        """`claim`, which says on the run that it began on this machine."""

        async def propose(run: FlowRun) -> bool:
            claimed = await claim(run)
            if claimed:
                with contextlib.suppress(httpx.HTTPError):
                    await self._client.update_flow_run_labels(run.id, {HOST: socket.gethostname()})
            return claimed

        return propose

    def _starting_again(self, give_up: _ProposeCrashed) -> _ProposeCrashed:
        """What is proposed for a run whose process died: another start, at last `give_up`.

        A process that starts while the server is away dies of it.
        """
        starts: Counter[UUID] = Counter()

        async def propose(run: FlowRun, message: str) -> State[Any] | None:
            starts[run.id] += 1
            if self.stopping or starts[run.id] >= MOST_STARTS:
                return await give_up(run, message)
            try:
                current = await self._client.read_flow_run(run.id)
                if current.state is None or not current.state.is_final():
                    await send_back(self._client, [current], why=message, after=_PAUSE)
            except httpx.HTTPError:
                return await give_up(run, message)
            return None

        return propose

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """Stop in the runner's own loop, where its connections live; a second signal is enough."""
        if self.stopping:
            os._exit(1)
        if not self.started:
            raise SystemExit  # nothing has begun, and there is no loop yet to stop in
        self.stopping = True
        logs.say("stopping; a second signal does not wait for the runs")
        self.execute_in_background(self._end)

    async def _end(self) -> None:
        """Note which of its runs are at work, then end them and the loop."""
        ids = list(self._deployment_registry.get_deployment_ids())
        # Another `serve` of the same file may have runs of its own.
        own = set(self._scheduled_run_poller._submitting_flow_run_ids)
        try:
            async with asyncio.timeout(_SECONDS_TO_ASK), get_client() as client:
                self.interrupted = tuple(run for run in await at_work(client, ids) if run.id in own)
        except (TimeoutError, httpx.HTTPError, RuntimeError):
            logs.say("the Prefect server does not answer; the next serve ends what is left")
            # Nothing can be told to a server that is away: the runs are ended, not their records.
            self._loops_task_group.cancel_scope.cancel()
            self._runs_task_group.cancel_scope.cancel()
            return
        await self.astop()


def staying(poll: _Poll, say: Callable[[str], None] = _hush) -> _Poll:
    """`poll`, which ends quietly while the server does not answer; `say` is told once."""
    away = False

    async def run(*args: Any, **kwargs: Any) -> None:
        nonlocal away
        try:
            await poll(*args, **kwargs)
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                raise
            if not away:
                say(f"the Prefect server does not answer ({type(error).__name__}); runs go on")
            away = True
        else:
            if away:
                say("the Prefect server answers again")
            away = False

    return run
