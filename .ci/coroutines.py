#!/usr/bin/env python3
"""Checks that co_await stands in no place where g++ 12 makes wrong code: beside or inside of braces, or as a condition.

    .ci/coroutines.py ROOT [--stamp FILE --depfile FILE]

Nor may a function that returns a Task have a braced default argument: write `Options options = Options()`.

A braced temporary in a co_await expression, and one that holds a co_await, is destroyed twice or copied byte by byte when
the coroutine is suspended in the middle of it. The bool of "if (!co_await x())" is written over the pointer by which the
coroutine is resumed. A lambda among the arguments, and a temporary that ?: chooses there, are destroyed twice. Memory
is corrupted without a warning, and only with optimisation. Give the object, or the result, a name in a statement of
its own.

And in every compiler's code a task begins after the statement that made it: "Task<void> t = tell(made_here(x));" leaves
a coroutine that takes its argument by reference with one that is gone. Such calls are refused too.

Part of every build (meson.build).
"""

import argparse
import pathlib
import re
import sys

EXPRESSION = re.compile(r'(?<!operator )\bco_await\b[^;{}]*\{[^;]*;')
CONDITION = re.compile(r'\b(?:if|while)\s*\(\s*!?\(?\s*!?\s*co_await\b[^;{]*')
# A lambda among the arguments, and a choice made there: `co_await f([x] {...})`, `co_await f(a ? b : c)`.
LAMBDA = re.compile(r'\bco_await\b[^;{}]*[(,]\s*\[[^\]]*\]\s*(?=[({]|mutable\b)')
CHOICE = re.compile(r'\bco_await\b[^;{}?]*\([^;{}]*\?[^;{}]*:[^;{}]*;')
INSIDE = re.compile(r'[\w>]\{[^{};]*\bco_await\b[^;]*;')
BRACED = re.compile(r'(?:[(,]\s*|\b[A-Za-z_]\w*(?:<[^;<>]*>)?)\{')
AWAITER = re.compile(r'co_await [\w:]+\{\}')  # "co_await Yield{}": the awaiter itself
# Where a body begins, the expression has ended: "while (co_await x) {", "if (...) {", "for (...) {".
BODY = re.compile(r'\)\s*(?:const\s*|noexcept\s*|->\s*[\w:<>]+\s*)*\{\s*\n')
# What connect() takes is plain data, which survives being copied byte by byte.
PLAIN = re.compile(r'\b(connect|connect_any)\((.*?), \{\},\s', re.DOTALL)
# A default argument is part of every expression that leaves it out.
DEFAULT = re.compile(r'\bTask<[^;{}()]*>\s+\w+\([^;{}]*=\s*\{\}')
# "Task<X> name = [object.]function(": what comes before the arguments of a task that is kept.
KEPT = re.compile(r'\bTask<[^;{}()]*>\s+\w+\s*=\s*(?:[\w.:>*-]*[.:>])?(\w+)(?:<[^;()]*>)?\(')
# The beginning of a function that returns a task, up to its parameters.
MAKES = re.compile(r'\bTask<[^;{}()]*>\s+(?:\w+::)*(\w+)\(')
BY_REFERENCE = re.compile(r'^const\b.*[^&]&\s*\w*$', re.DOTALL)
# A call with arguments makes something; a call without may show what its object keeps.
MADE = re.compile(r'^[\w:]+(?:<[^()]*>)?[({]')
COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
AREAS = ('lib', 'capi', 'tests')


def offences(text):
    """Line and text of each wrong expression."""
    text = blank(text)
    for match in DEFAULT.finditer(text):
        yield text.count('\n', 0, match.end()) + 1, ' '.join(match.group(0).split())[:100]
    for match in [*INSIDE.finditer(text), *CONDITION.finditer(text), *LAMBDA.finditer(text), *CHOICE.finditer(text)]:
        yield text.count('\n', 0, match.start()) + 1, ' '.join(match.group(0).split())[:100]
    for match in EXPRESSION.finditer(text):
        expression = BODY.split(match.group(0))[0]
        if BRACED.search(PLAIN.sub('', AWAITER.sub('', expression))):
            yield text.count('\n', 0, match.start()) + 1, ' '.join(expression.split())[:100]


def blank(text):
    """Comments and strings may hold anything; they become spaces, so that lines keep their numbers."""
    return COMMENT.sub(lambda m: re.sub(r'[^\n]', ' ', m.group(0)), text)


def closing(text, start):
    """Where the bracket that opens at `start` closes; none if it does not."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] in '([{':
            depth += 1
        elif text[at] in ')]}':
            depth -= 1
            if depth == 0:
                return at
    return None


def parts(text):
    """The parts between commas that stand outside of all brackets."""
    found, depth, begin = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in '([{<') - (letter in ')]}>' and text[at - 1:at + 1] != '->')
        if letter == ',' and depth == 0:
            found.append(text[begin:at].strip())
            begin = at + 1
    return [*found, text[begin:].strip()]


def borrowers(text):
    """Coroutines defined here that take parameters by reference to const: name and the parameters' places."""
    for match in MAKES.finditer(text):
        end = closing(text, match.end() - 1)
        body = re.compile(r'\s*(?:const\s*|override\s*|noexcept\s*)*\{').match(text, end + 1) if end else None
        until = closing(text, body.end() - 1) if body else None
        if not until or not re.search(r'\bco_(?:await|return|yield)\b|\bCO_(?:OK|TRY)\b', text[body.end():until]):
            continue
        places = {i for i, what in enumerate(parts(text[match.end():end])) if BY_REFERENCE.match(what)}
        if places:
            yield match.group(1), places


def dangling(text, known):
    """Line and text of each kept task whose coroutine borrows what ends with the statement."""
    for match in KEPT.finditer(text):
        end = closing(text, match.end() - 1)
        if not end or match.group(1) not in known:
            continue
        arguments = parts(text[match.end():end])
        if any(i in known[match.group(1)] and MADE.match(what) and not what.startswith('std::move(')
               for i, what in enumerate(arguments)):
            yield text.count('\n', 0, match.start()) + 1, ' '.join(text[match.start():end + 1].split())[:100]


def main():
    parser = argparse.ArgumentParser(description='Checks co_await expressions for braced initialisers.')
    parser.add_argument('root', type=pathlib.Path)
    parser.add_argument('--stamp', type=pathlib.Path, help='written when all is well')
    parser.add_argument('--depfile', type=pathlib.Path, help='files and folders the result depends on')
    arguments = parser.parse_args()

    seen, complaints, texts, known = [], [], {}, {}
    for area in AREAS:
        for path in sorted((arguments.root / area).rglob('*')):
            if path.is_dir():
                seen.append(path)
            elif path.suffix in ('.h', '.cc'):
                seen.append(path)
                texts[path] = blank(path.read_text(errors='replace'))
                for name, places in borrowers(texts[path]):
                    known.setdefault(name, set()).update(places)
                for line, what in offences(texts[path]):
                    complaints.append(f'{path.relative_to(arguments.root)}:{line}: error: name this in a statement of its'
                                      f' own: {what}')
    for path, text in texts.items():
        for line, what in dangling(text, known):
            complaints.append(f'{path.relative_to(arguments.root)}:{line}: error: the task begins when its argument is'
                              f' gone; name that: {what}')
    if complaints:
        print('\n'.join(complaints))
        print('coroutines: these make wrong code (.ci/coroutines.py says why)')
        sys.exit(1)
    if arguments.depfile:
        arguments.depfile.write_text(f'{arguments.stamp}: {" ".join(str(p) for p in seen)}\n')
    if arguments.stamp:
        arguments.stamp.write_text('')


if __name__ == '__main__':
    main()
