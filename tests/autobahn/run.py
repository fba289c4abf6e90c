"""Run Autobahn's WebSocket conformance cases: the library must do no worse than Falcon alone.

    python tests/autobahn/run.py [--cases '1.*' 7.5.1 ...] [--servers wsproto ...] [--keep]

What a server gets wrong by itself is the same in both, and is no failure here. The exit code is 1
if any case is worse through the library than it is without, on the same server.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
import json
import os
from pathlib import Path
import shutil
import socket
import subprocess
import sys
import tempfile

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REQUIREMENTS = HERE / 'requirements.txt'
VENV = ROOT / '.venv-autobahn'
VIRTUALENV = 'virtualenv==20.21.1'  # the last that makes an environment of Python 2.7

# 9.* measures speed. 12.* and 13.* are for compression, which is switched off: it is the server's.
CASES = ('1.*', '2.*', '3.*', '4.*', '5.*', '6.*', '7.*', '10.*')
SERVERS = ('websockets-sansio', 'websockets', 'wsproto')
APPS = ('plain', 'dispatched')

# A good message and, without a wait for its echo, a frame that ends the connection: the echo may
# leave before that frame is read, or not at all, which Autobahn calls NON-STRICT. Those sent octet
# by octet (3.4, 4.1.5, 4.2.5) were seen to go either way on each server, with Falcon alone too.
RACES = frozenset(
    {'3.2', '3.3', '3.4', '4.1.3', '4.1.4', '4.1.5', '4.2.3', '4.2.4', '4.2.5', '5.15'}
)

TIMEOUT_SECONDS = 1200  # for all cases of one app on one server
STOPPING_SECONDS = 15

OK, NON_STRICT = 'OK', 'NON-STRICT'
MISSING = 'MISSING'  # ours: Autobahn did not get as far
RANKS = {
    OK: 0,
    'INFORMATIONAL': 0,
    NON_STRICT: 1,
    'UNIMPLEMENTED': 2,
    'FAILED BY CLIENT': 3,
    'WRONG CODE': 4,
    'UNCLEAN': 5,
    'FAILED': 6,
    MISSING: 7,
}
"""Autobahn's words for what a server did and how it closed, the best first."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Autobahn says of one case."""

    behavior: str
    closing: str

    def is_worse_than(self, other: Outcome) -> bool:
        return (
            RANKS[self.behavior] > RANKS[other.behavior]
            or RANKS[self.closing] > RANKS[other.closing]
        )

    @property
    def is_missing(self) -> bool:
        return MISSING in (self.behavior, self.closing)

    def whoever_wins(self) -> Outcome:
        """The same, whoever wins the race of such a case."""
        return replace(self, behavior=OK) if self.behavior == NON_STRICT else self

    def __str__(self) -> str:
        return f'{self.behavior}, closing {self.closing}'


Outcomes = Mapping[str, Outcome]


# -- Autobahn, and the Python that it needs


def find_python2() -> str | None:
    pyenv = Path(os.environ.get('PYENV_ROOT') or Path.home() / '.pyenv')
    for candidate in ('python2.7', *map(str, pyenv.glob('versions/2.7*/bin/python'))):
        check = [candidate, '-c', 'import ssl, sys; sys.exit(sys.version_info[:2] != (2, 7))']
        try:
            if subprocess.run(check, check=False, capture_output=True).returncode == 0:
                return candidate
        except OSError:
            continue
    return None


def set_up(python2: str) -> Path:
    """The Python of a virtual environment that has Autobahn's suite."""
    python, ready = VENV / 'bin' / 'python', VENV / '.ready'
    if ready.exists() and ready.stat().st_mtime > REQUIREMENTS.stat().st_mtime:
        return python
    print(f'setting up {VENV.name}', flush=True)
    with tempfile.TemporaryDirectory() as directory:
        install = [sys.executable, '-m', 'pip', 'install', '--quiet', '--target', directory]
        subprocess.run([*install, VIRTUALENV], check=True)
        make = [sys.executable, '-m', 'virtualenv', '--quiet', '--clear', '--python', python2]
        subprocess.run([*make, str(VENV)], check=True, env={**os.environ, 'PYTHONPATH': directory})
    install = [str(python), '-m', 'pip', '--no-python-version-warning', 'install', '--quiet']
    subprocess.run([*install, '--no-deps', '--requirement', str(REQUIREMENTS)], check=True)
    ready.touch()
    return python


# Given a list that is empty, or names a case that it does not have, the suite does not end.
CHOOSE = """
from autobahntestsuite.case import (
    CaseBasename, CaseCategories, Cases, CaseSetname, CaseSubCategories
)
from autobahntestsuite.caseset import CaseSet
import json, sys
known = CaseSet(CaseSetname, CaseBasename, Cases, CaseCategories, CaseSubCategories)
named = known.parseSpecCases({'cases': sys.argv[1:], 'exclude-cases': []})
print(json.dumps([case for case in named if case in known.CasesIndices]))
"""


def choose(python: Path, patterns: Sequence[str]) -> list[str]:
    """The cases that are named by patterns."""
    command = [str(python), '-c', CHOOSE, *patterns]
    chosen = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    cases: list[str] = json.loads(chosen.stdout)
    if not cases:
        sys.exit(f'no case is named by {" ".join(patterns)}')
    return cases


def fuzz(python: Path, port: int, cases: Sequence[str], directory: Path) -> dict[str, Outcome]:
    """Put all cases to a server, one after the other."""
    specification = {
        'outdir': str(directory),
        'servers': [{'agent': 'server', 'url': f'ws://127.0.0.1:{port}/'}],
        'cases': list(cases),
        'exclude-cases': [],
        'exclude-agent-cases': {},
    }
    path = directory / 'specification.json'
    path.write_text(json.dumps(specification))
    command = [str(python), '-m', 'autobahntestsuite.wstest', '--mode', 'fuzzingclient']
    run = subprocess.run(
        [*command, '--spec', str(path)],
        check=False,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    (directory / 'client.log').write_text(run.stdout)
    if run.returncode != 0:
        raise RuntimeError(f'Autobahn failed:\n{run.stdout[-2000:]}')
    report = json.loads((directory / 'index.json').read_text()).get('server', {})
    return {
        case: Outcome(report[case]['behavior'], report[case]['behaviorClose'])
        if case in report
        else Outcome(MISSING, MISSING)
        for case in cases
    }


# -- the servers


@contextmanager
def serving(app: str, ws: str, log: Path) -> Iterator[int]:
    """The port of an app, served by a process of its own.

    The process inherits a socket that listens already: connections wait until it accepts them, and
    nobody else can take the port. If it does not come up, they are reset.
    """
    listener = socket.create_server(('127.0.0.1', 0), backlog=128)
    port, handle = int(listener.getsockname()[1]), listener.fileno()
    command = [sys.executable, str(HERE / 'apps.py'), app, ws, str(handle)]
    with (
        log.open('wb') as output,
        subprocess.Popen(command, stdout=output, stderr=output, pass_fds=[handle]) as process,
    ):
        listener.close()
        try:
            yield port
            if process.poll() is not None:
                raise RuntimeError(f'the server of {app} has ended:\n{log.read_text()[-2000:]}')
        finally:
            process.terminate()
            try:
                process.wait(STOPPING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def run_app(python: Path, app: str, ws: str, cases: Sequence[str], directory: Path) -> Outcomes:
    directory.mkdir(parents=True)
    with serving(app, ws, directory / 'server.log') as port:
        return fuzz(python, port, cases, directory)


# -- what is made of it


def words_of(outcomes: Outcomes) -> str:
    behavior = Counter(outcome.behavior for outcome in outcomes.values())
    closing = Counter(outcome.closing for outcome in outcomes.values())
    said = (
        ', '.join(f'{counts[word]} {word}' for word in RANKS if counts[word])
        for counts in (behavior, closing)
    )
    return '; closing '.join(said)


def is_worse(case: str, outcome: Outcome, base: Outcome) -> bool:
    """Whether dispatch does worse in a case than Falcon alone; so it is if nobody can tell."""
    if case in RACES:
        outcome, base = outcome.whoever_wins(), base.whoever_wins()
    return outcome.is_worse_than(base) or outcome.is_missing or base.is_missing


def compare(ws: str, plain: Outcomes, dispatched: Outcomes) -> list[str]:
    """Print what differs, and return the cases that are worse."""
    print(f'\nuvicorn --ws {ws}: {len(plain)} cases')
    print(f'  plain       {words_of(plain)}')
    print(f'  dispatched  {words_of(dispatched)}')
    worse = []
    for case, outcome in dispatched.items():
        base = plain[case]
        if is_worse(case, outcome, base):
            worse.append(case)
        if outcome != base or outcome.is_missing:
            mark = 'WORSE' if case in worse else 'race ' if case in RACES else 'other'
            print(f'  {mark} {case}: plain {base}; dispatched {outcome}')
    if plain == dispatched:
        print('  no difference')
    return worse


def run_all(python: Path, servers: Sequence[str], cases: Sequence[str], directory: Path) -> int:
    worse = 0
    for ws in servers:
        with ThreadPoolExecutor(len(APPS)) as pool:
            running = [
                pool.submit(run_app, python, app, ws, cases, directory / f'{ws}-{app}')
                for app in APPS
            ]
            plain, dispatched = (future.result() for future in running)
        worse += len(compare(ws, plain, dispatched))
        sys.stdout.flush()
    return worse


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--cases', nargs='+', default=CASES, help='such as 1.* or 7.5.1')
    parser.add_argument('--servers', nargs='+', default=SERVERS, choices=SERVERS)
    parser.add_argument('--keep', action='store_true', help="keep Autobahn's reports in any case")
    options = parser.parse_args()

    python2 = find_python2()
    if python2 is None:
        print('Python 2.7, which Autobahn needs, is not on this machine: its cases are skipped')
        sys.exit(1 if os.environ.get('CI') else 0)
    python = set_up(python2)
    cases = choose(python, options.cases)
    reports = Path(tempfile.mkdtemp(prefix='autobahn-'))
    keep = True
    try:
        worse = run_all(python, options.servers, cases, reports)
        keep = options.keep or worse > 0
    finally:
        if keep:
            print(f'\nreports and logs: {reports}')
        else:
            shutil.rmtree(reports)
    if worse:
        sys.exit(f'worse through the library: {worse}')
    print('\nworse through the library: none')


if __name__ == '__main__':
    main()
