"""Run Falcon's own ASGI tests with the library installed in every app that they build.

    python tests/falcon_suite/run.py [--wrapper library|passthrough] [-- pytest arguments]

Adopting the library must change nothing for a route that does not use it; Falcon's own tests say
best what "nothing" is. They come from the source distribution of a pinned Falcon, run against the
*installed* Falcon of that version, and all pass inside `passthrough`, a wrapper that does nothing:
a failure in `library` is ours.

The run also fails if a test was not run, was skipped for an unknown reason, or built its app
without the wrapper.
"""

from __future__ import annotations

import argparse
import collections
import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET

FALCON_VERSION = '4.4.0'
HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parents[1] / '.cache' / 'falcon-suite'

# LICENSE and README.rst are served as static files by a test.
NEEDED_FILES = ('tests/', 'pyproject.toml', 'LICENSE', 'README.rst')
TESTS = ('tests/asgi', 'tests/test_middleware.py')
SERVERS = ('daphne', 'granian', 'hypercorn', 'uvicorn')
MIN_APPS = 380  # built by the pytest processes: 397 were counted
TIMEOUT_SECONDS = 600
PYTEST = (sys.executable, '-m', 'pytest', '-c', 'pyproject.toml', '-p', 'no:cacheprovider', '-q')
SHOW_HANGING = ('-o', 'faulthandler_timeout=60')
# NOTE: Most tests wait, so there are more processes than cores. With six of them on two, a server
# that was being started was once too busy to answer within the 0.2 s that Falcon gives it.
IN_PARALLEL = ('-p', 'xdist.plugin', '-n', '4', '--dist', 'worksteal', '-rf', '-rs')

EXPECTED_SKIPS = {
    'Cythonized coroutine functions cannot be detected',
    (
        'extra_body ignores set_content_length so we only need to test one of the parameter'
        ' permutations'
    ),
    'test requires msgpack lib to be missing',
}


def download_sdist() -> pathlib.Path:
    sdist = CACHE / f'falcon-{FALCON_VERSION}.tar.gz'
    if not sdist.exists():
        command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps']
        command += ['--no-binary', ':all:', '--dest', str(CACHE), f'falcon=={FALCON_VERSION}']
        subprocess.run(command, check=True, env={**os.environ, 'FALCON_DISABLE_CYTHON': 'Y'})
    return sdist


def unpack_tests(sdist: pathlib.Path, directory: pathlib.Path) -> pathlib.Path:
    """Unpack the tests but not the package beside them: the installed one must be imported."""
    root = f'falcon-{FALCON_VERSION}'
    needed = tuple(f'{root}/{name}' for name in NEEDED_FILES)
    with tarfile.open(sdist) as archive:
        members = [member for member in archive if member.name.startswith(needed)]
        archive.extractall(directory, members, filter='data')
    return directory / root


def make_environment(directory: pathlib.Path) -> dict[str, str]:
    """Keep this repository's pytest plug-ins out, and pyximport's files out of the real home."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith('PYTEST_')}
    return {**environment, 'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1', 'HOME': str(directory)}


def count_collected(suite: pathlib.Path, environment: dict[str, str], arguments: list[str]) -> int:
    """Count the tests that pytest finds where nothing is wrapped."""
    command = [*PYTEST, '--collect-only', *TESTS, *arguments]
    result = subprocess.run(
        command, check=False, cwd=suite, env=environment, text=True, capture_output=True
    )
    if result.returncode:
        sys.exit(f"Falcon's tests cannot even be collected:\n{result.stdout}{result.stderr}")
    return sum('::' in line for line in result.stdout.splitlines())


def find_problems(
    report: pathlib.Path, collected: int, apps: collections.Counter[str], complete: bool
) -> list[str]:
    """Say everything for which the run must not count as passed, however pytest ended."""
    if not report.exists():
        return ['pytest wrote no report']
    cases = list(ET.parse(report).iter('testcase'))  # noqa: S314 - our own
    skips = [skip.get('message', '') for case in cases for skip in case.iter('skipped')]
    problems = [f'skipped: {reason}' for reason in sorted(set(skips) - EXPECTED_SKIPS)]
    bad = sum(case.find('failure') is not None or case.find('error') is not None for case in cases)
    if bad:
        problems.append(f'{bad} tests failed')
    if len(cases) != collected:
        problems.append(f'{len(cases)} tests ran, {collected} were collected without the wrapper')
    if complete and apps['pytest'] < MIN_APPS:
        problems.append(f'{apps["pytest"]} apps were wrapped, {MIN_APPS} are the least')
    for server in SERVERS:
        tests = sum(f'[{server}' in case.get('name', '') for case in cases)
        if apps[server] < tests or (complete and not tests):
            problems.append(f'{server}: {tests} tests, but {apps[server]} apps were wrapped')
    return problems


def run_suite(wrapper: str, arguments: list[str], directory: pathlib.Path) -> list[str]:
    suite = unpack_tests(download_sdist(), directory)
    environment = make_environment(directory)
    # NOTE: Collecting also compiles Falcon's Cython test module, once instead of six times at once.
    collected = count_collected(suite, environment, arguments)
    log, report = directory / 'apps.log', directory / 'report.xml'
    log.touch()
    search_path = os.pathsep.join(filter(None, (str(HERE / 'site'), os.environ.get('PYTHONPATH'))))
    environment |= {
        'PYTHONPATH': search_path,
        'FALCON_SUITE_WRAPPER': wrapper,
        'FALCON_SUITE_LOG': str(log),
    }
    command = [*PYTEST, *IN_PARALLEL, *SHOW_HANGING, f'--junit-xml={report}', *TESTS, *arguments]
    try:
        run = subprocess.run(
            command, check=False, cwd=suite, env=environment, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return [f'still running after {TIMEOUT_SECONDS} s']
    apps = collections.Counter(log.read_text().split())
    print(f'{wrapper}: {collected} tests collected; apps wrapped, by process: {dict(apps)}')
    problems = find_problems(report, collected, apps, complete=not arguments)
    if run.returncode and not problems:
        problems.append(f'pytest ended with status {run.returncode}')
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--wrapper', choices=('library', 'passthrough'), default='library')
    parser.add_argument('arguments', nargs='*', metavar='-- pytest arguments')
    options = parser.parse_args()
    installed = importlib.metadata.version('falcon')
    if installed != FALCON_VERSION:
        sys.exit(f'Falcon {installed} is installed; its tests are run for {FALCON_VERSION} only.')
    with tempfile.TemporaryDirectory(prefix='falcon-suite-') as directory:
        problems = run_suite(options.wrapper, options.arguments, pathlib.Path(directory))
    if problems:
        sys.exit('\n'.join(["Falcon's own tests do not pass:", *problems]))


if __name__ == '__main__':
    main()
