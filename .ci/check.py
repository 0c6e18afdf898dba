#!/usr/bin/env python3
"""Installs what is missing, builds d7y and runs every test. The last line is "N passed, N failed".

    ./check              release build with g++, warnings are errors; all tests; a second build with clang
    ./check --fuzz SECONDS   libFuzzer on every parser of foreign bytes, so long each (--only NAME chooses)
    ./check --sanitize   the tests again, under the address and undefined-behaviour sanitizers, then under the
                         thread sanitizer (builds with clang)

    --only NAME          run only the tests whose name contains NAME (may be repeated)
    --no-install         do not install packages; for machines where .ci/dependencies has run already

Every test case of the test programs counts as one, so does every other test and each of the builds. The exit
code is 0 when nothing failed, 1 when something did, 2 for wrong arguments. Builds are kept under build/, so the
second run is fast; each test's whole output is in build/*/meson-logs/testlog.txt.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORES = len(os.sched_getaffinity(0))

# Sanitizers stop the program at the first finding, and say where it was.
SANITIZER_OPTIONS = {
    'ASAN_OPTIONS': 'detect_leaks=1:abort_on_error=0:strict_string_checks=1:detect_stack_use_after_return=1',
    'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1',
    'TSAN_OPTIONS': 'halt_on_error=1:second_deadlock_stack=1',
}


@dataclasses.dataclass
class Build:
    """One configuration of the project, in build/NAME."""
    name: str
    compiler: tuple  # C, C++
    options: tuple
    run_tests: bool = True
    slower: int = 1  # how much longer a test may take than in a release build
    targets: tuple = ()  # of ninja; none: everything

    @property
    def folder(self):
        return ROOT / 'build' / self.name


GCC = ('gcc', 'g++')
CLANG = ('clang-19', 'clang++-19')
ORDINARY = (
    Build('check', GCC, ('-Dwerror=true', '-Dabi=true')),
    # Proof that clang builds it too, and the build for clang-tidy. Not optimised, because it is not run.
    Build('clang', CLANG, ('-Dbuildtype=plain', '-Doptimization=0', '-Dwerror=true'), run_tests=False),
)
SANITIZED = (
    Build('address', CLANG, ('-Dbuildtype=plain', '-Doptimization=1', '-Dc_args=-g1', '-Dcpp_args=-g1',
                             '-Db_sanitize=address,undefined', '-Db_lundef=false'), slower=4),
    Build('thread', CLANG, ('-Dbuildtype=plain', '-Doptimization=1', '-Dc_args=-g1', '-Dcpp_args=-g1',
                            '-Db_sanitize=thread', '-Db_lundef=false'), slower=8),
)
# Coverage for libFuzzer in everything, sanitizers that find what nobody asked for.
FUZZED = Build('fuzz', CLANG, ('-Dbuildtype=plain', '-Doptimization=1', '-Dc_args=-g1', '-Dcpp_args=-g1', '-Dfuzz=true',
                               '-Db_sanitize=address,undefined', '-Db_lundef=false'), run_tests=False,
               targets=('fuzzers',))


class Tally:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def one(self, ok):
        self.add(1, 0) if ok else self.add(0, 1)

    def add(self, passed, failed):
        self.passed += passed
        self.failed += failed


def say(text):
    print(text, flush=True)


def environment(build):
    env = dict(os.environ)
    # The cache finds the same file again in another clone of the project.
    env.setdefault('CCACHE_BASEDIR', str(ROOT))
    env.setdefault('CCACHE_NOHASHDIR', '1')
    cached = 'ccache ' if shutil.which('ccache') else ''
    env['CC'], env['CXX'] = (cached + name for name in build.compiler)
    if shutil.which('ld.mold') and build.compiler is CLANG:
        env['CC_LD'] = env['CXX_LD'] = 'mold'
    for name in ('CFLAGS', 'CXXFLAGS', 'CPPFLAGS', 'LDFLAGS'):
        env.pop(name, None)
    env.update(SANITIZER_OPTIONS)
    return env


def cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(command, **options):
    """subprocess.run, but when we are stopped the command may stop its own children before it goes."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=ROOT, **options) as process:
        try:
            out, err = process.communicate()
        except KeyboardInterrupt:
            process.terminate()
            try:
                process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def run_logged(command, env, log):
    """Runs a command with all its output in the file `log`; true if it ended well."""
    with open(log, 'ab') as out:
        out.write(f'\n$ {" ".join(map(str, command))}\n'.encode())
        out.flush()
        return run(command, env=env, stdout=out, stderr=subprocess.STDOUT).returncode == 0


def tail_of(log, wanted=re.compile(r'error: |^ERROR|undefined (reference|symbol)|^floors: |\d+: #include')):
    """What a failed build had to say: lines that look like the reason, else the end."""
    lines = pathlib.Path(log).read_text(errors='replace').splitlines()
    telling = [line for line in lines if wanted.search(line)]
    return '\n'.join('  ' + line[:400] for line in (telling[:40] or lines[-30:]))


def make(build, tally):
    """Configures and builds; true if it worked."""
    started, used = time.monotonic(), cpu_of_children()
    folder = build.folder
    folder.parent.mkdir(exist_ok=True)
    log = folder.parent / f'{build.name}.log'
    log.write_bytes(b'')
    env = environment(build)
    setup = ['meson', 'setup', *build.options, folder, ROOT]
    configured = (folder / 'build.ninja').exists()
    if any((ROOT / 'subprojects').glob('*/meson.build')):
        # An unpacked subproject keeps its build file; ours may have changed since.
        run_logged(['meson', 'subprojects', 'packagefiles', '--apply'], env, log)
    ok = run_logged(setup + (['--reconfigure'] if configured else []), env, log)
    if not ok and configured:
        # A build folder of an older state of the project may be past repair; start afresh once.
        shutil.rmtree(folder)
        ok = run_logged(setup, env, log)
    ok = ok and run_logged(['ninja', '-C', folder, '-j', str(CORES), '-k', '20', *build.targets], env, log)
    tally.one(ok)
    took = f'{time.monotonic() - started:.0f} s ({cpu_of_children() - used:.0f} s of CPU)'
    if ok:
        say(f'build {build.name} ({build.compiler[1]}): ok, {took}')
    else:
        say(f'build {build.name} ({build.compiler[1]}): FAILED after {took}\n{tail_of(log)}\n  all of it: {log}')
    return ok


CASES = re.compile(r'^\[doctest\] test cases: +(\d+) \| +(\d+) passed \| +(\d+) failed', re.MULTILINE)
ESCAPES = re.compile(r'\x1b\[[0-9;]*m')


def count(result):
    """Test cases passed and failed in one test of Meson's log."""
    good = result['result'] in ('OK', 'EXPECTEDFAIL')
    cases = CASES.search(ESCAPES.sub('', result.get('stdout', '')))
    if not cases:
        return (1, 0) if good else (0, 1)
    passed, failed = int(cases[2]), int(cases[3])
    if not good and failed == 0:
        failed = 1  # ended badly after the last case: a leak, a crash in a destructor
    return passed, failed


def test(build, names, tally):
    env = environment(build)
    listed = run(['meson', 'test', '-C', build.folder, '--list', '--no-rebuild'], env=env, text=True,
                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.split('\n')
    chosen = [line.split(' / ')[-1].strip() for line in listed if line.strip()]
    chosen = [line for line in chosen if not names or any(name in line for name in names)]
    if not chosen:
        say(f'no test is named like {" or ".join(names)}' if names else 'there are no tests')
        tally.one(False)
        return
    command = ['meson', 'test', '-C', build.folder, '--no-rebuild', '--num-processes', str(CORES),
               '--timeout-multiplier', str(build.slower), *chosen]
    log = build.folder / 'meson-logs' / 'testlog.json'
    log.unlink(missing_ok=True)
    done = run(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if not results:
        say(f'the tests of {build.name} did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
        tally.one(False)
        return
    for result in sorted(results, key=lambda r: r['name']):
        if result['result'] == 'SKIP':
            say(f'  {result["name"]}: skipped')
            continue
        passed, failed = count(result)
        tally.add(passed, failed)
        name = result['name'].split(' / ')[-1].removeprefix('d7y:').strip()
        if not failed:
            say(f'  {name}: {passed} passed, {result["duration"]:.1f} s')
            continue
        say(f'  {name}: {failed} FAILED ({result["result"].lower()}), {passed} passed, {result["duration"]:.1f} s')
        output = result.get('stdout', '') + result.get('stderr', '')
        lines = output.splitlines()
        shown = lines if len(lines) <= 120 else lines[:60] + ['[...]'] + lines[-60:]
        say('\n'.join('    | ' + line for line in shown))


def fuzz(seconds, names, tally):
    """Runs the fuzz targets one after the other, `seconds` each. What crashes one is kept in build/fuzz/findings,
    and what it learned for the next time in build/fuzz/corpus."""
    folder = FUZZED.folder
    env = environment(FUZZED)
    # A deep recursion has to be found by the target's own limits, not by a larger stack.
    env['ASAN_OPTIONS'] += ':allocator_may_return_null=1'
    programs = sorted(path for path in (folder / 'tests/fuzz').glob('fuzz-*') if path.is_file())
    programs = [path for path in programs if not names or any(name in path.name for name in names)]
    if not programs:
        say('no fuzz target is named like that')
        tally.one(False)
    findings = folder / 'findings'
    findings.mkdir(exist_ok=True)
    for program in programs:
        name = program.name.removeprefix('fuzz-')
        learned = folder / 'corpus' / name
        learned.mkdir(parents=True, exist_ok=True)
        command = [program, f'-max_total_time={seconds}', '-timeout=25', '-rss_limit_mb=2048', '-print_final_stats=1',
                   f'-artifact_prefix={findings}/{name}-', learned, ROOT / 'tests/fuzz/corpus' / name]
        done = run(command, env=env, text=True, errors='replace', stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        tally.one(done.returncode == 0)
        runs = re.search(r'number_of_executed_units: (\d+)', done.stdout)
        if done.returncode == 0:
            say(f'  fuzz-{name}: ok, {runs[1] if runs else "?"} inputs in {seconds} s')
        else:
            say(f'  fuzz-{name}: FAILED\n' + '\n'.join('    | ' + line for line in done.stdout.splitlines()[-60:]))


def main():
    parser = argparse.ArgumentParser(prog='./check', usage='./check [--sanitize | --fuzz SECONDS] [--only NAME] [--no-install]',
                                     description=__doc__.split('\n')[0],
                                     epilog=__doc__.split('\n\n', 1)[1],
                                     formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False)
    parser.add_argument('-h', '--help', action='help', help=argparse.SUPPRESS)
    parser.add_argument('--sanitize', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--fuzz', type=int, metavar='SECONDS', help=argparse.SUPPRESS)
    parser.add_argument('--only', action='append', default=[], metavar='NAME', help=argparse.SUPPRESS)
    parser.add_argument('--no-install', action='store_true', help=argparse.SUPPRESS)
    arguments = parser.parse_args()

    started = time.monotonic()
    tally = Tally()
    if not arguments.no_install:
        if run([ROOT / '.ci' / 'dependencies', 'check']).returncode:
            tally.one(False)
            say(f'{tally.passed} passed, {tally.failed} failed')
            return 1
    builds = () if arguments.fuzz else SANITIZED if arguments.sanitize else ORDINARY
    for build in builds:
        if make(build, tally) and build.run_tests:
            say(f'tests of {build.name}:')
            test(build, arguments.only, tally)
    if arguments.fuzz and make(FUZZED, tally):
        say('fuzzing:')
        fuzz(arguments.fuzz, arguments.only, tally)
    say(f'{time.monotonic() - started:.0f} s in all')
    say(f'{tally.passed} passed, {tally.failed} failed')
    return 1 if tally.failed else 0


def stop(_number, _frame):
    raise KeyboardInterrupt


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say('interrupted')
        sys.exit(130)
