#!/usr/bin/env python3
"""Compare `lastwords-decode symbols lookup` with the other symbolizers, address by address.

usage: agreement.py [--count N] [--seed N] [--sites] [--tool NAME=PATH ...] DECODE OBJECT

DECODE is the program, OBJECT a linked vmlinux (or a .ko that was linked, see link-module.py). Addresses are drawn
at random from .text; with --sites also the first, second and last byte of every hundredth function. Asked are those
of addr2line, llvm-symbolizer, eu-addr2line and blazecli that are installed.

The truth is what most of addr2line, llvm-symbolizer and blazecli say. Printed are the shares of agreement (innermost
function, its file:line, length of the chain) over the addresses inside functions, and for the rest, the padding,
apart; then every difference with its class. Exit status 1 when a difference has no class.
"""
import argparse
import collections
import json
import os
import random
import re
import shutil
import subprocess
import sys

SUFFIX = re.compile(r'(\.(cold|isra|part|constprop|llvm|cfi|cfi_jt|lto_priv|localalias|warm|hot|\d+))+$')
REFERENCES = ('addr2line', 'llvm-symbolizer', 'blazecli')


def run(command, text):
    done = subprocess.run(command, input=text, capture_output=True, text=True, errors='replace')
    if done.returncode:
        sys.exit(f'{command[0]}: exit {done.returncode}: {done.stderr[:500]}')
    return done.stdout


def frame(function, place):
    """(function, file, line), with '' and 0 for what is not known."""
    place = re.sub(r' \(discriminator \d+\)$', '', place)
    file, _, line = place.rpartition(':')
    if re.fullmatch(r'.*:\d+', file):  # file:line:column
        file, _, line = file.rpartition(':')
    function = function.split(' inlined at ')[0]  # eu-addr2line
    function = '' if function == '??' else SUFFIX.sub('', function)
    file = '' if file in ('??', '') else os.path.normpath(file)
    return function, file, int(line) if line.isdigit() else 0


def pairs(out):
    """addr2line -afi: the address, then pairs of lines: function, file:line."""
    answers, lines = [], out.splitlines()
    at = 0
    while at < len(lines):
        answers.append([])
        at += 1
        while at < len(lines) and not re.fullmatch(r'0x[0-9a-f]{16}', lines[at]):
            answers[-1].append(frame(lines[at], lines[at + 1]))
            at += 2
    return answers


def addr2line(path, obj, addresses):
    return pairs(run([path, '-afi', '-e', obj], addresses))


def llvm(path, obj, addresses):
    answers = []
    for line in run([path, f'--obj={obj}', '--output-style=JSON', '--no-demangle'], addresses).splitlines():
        symbols = json.loads(line).get('Symbol', [])
        answers.append([frame(s['FunctionName'] or '??', f"{s['FileName'] or '??'}:{s['Line']}") for s in symbols])
    return answers


def blazecli(path, obj, addresses):
    answers = []
    # 0xaddr: name @ 0xstart+0xoff file:line:column; below it, indented: name @ file:line:column [inlined]
    listed = addresses.split()
    for start in range(0, len(listed), 4000):
        out = run([path, 'symbolize', 'elf', '--path', obj, '--', *listed[start:start + 4000]], '')
        for line in out.splitlines():
            if not line.strip():
                continue
            first = re.match(r'(0x[0-9a-f]+): (.*)', line)
            if first:
                answers.append([])
                line = first.group(2)
            text = line.strip()
            if text.startswith('<no-symbol>'):
                continue
            found = re.match(r'(.+?) @(?: 0x[0-9a-f]+\+0x[0-9a-f]+)?(?: (\S+:\d+(?::\d+)?))?(?: \[inlined\])?$', text)
            if not found:
                sys.exit(f'blazecli: cannot read {line!r}')
            # The outer function comes first, then what is inlined into it.
            answers[-1].insert(0, frame(found.group(1), found.group(2) or '??:0'))
    return answers


def ours(path, obj, addresses):
    answers = []
    for line in run([path, 'symbols', 'lookup', '--vmlinux', obj], addresses).splitlines():
        frames = json.loads(line)['frames']
        answers.append([frame(f['function'] or '??', f"{f['file'] or '??'}:{f['line']}") for f in frames])
    return answers


TOOLS = {'addr2line': addr2line, 'llvm-symbolizer': llvm, 'eu-addr2line': addr2line, 'blazecli': blazecli}


def sections(obj):
    out = subprocess.run(['readelf', '-SW', obj], capture_output=True, text=True).stdout
    found = re.findall(r'\] (\S+)\s+PROGBITS\s+([0-9a-f]+) [0-9a-f]+ ([0-9a-f]+) \S+\s+AX', out)
    return [(name, int(start, 16), int(size, 16)) for name, start, size in found]


def functions(obj):
    out = subprocess.run(['readelf', '-sW', obj], capture_output=True, text=True).stdout
    found = re.findall(r'\d+: ([0-9a-f]{16})\s+(\d+|0x[0-9a-f]+) FUNC ', out)
    return sorted({(int(start, 16), int(size, 0)) for start, size in found if int(size, 0)})


def inside(ranges, address):
    import bisect
    at = bisect.bisect_right(ranges, (address, 1 << 62))
    return any(start <= address < start + size for start, size in ranges[max(0, at - 4):at])


def classify(mine, truth, answers):
    """Why an answer differs from the majority, as far as the reasons are known."""
    if any(mine == answer for answer in answers.values()):
        return 'equal to another tool'
    if not truth:
        return 'others are silent'
    if not mine:
        return 'MISSING'
    if [f[0] for f in mine] == [f[0] for f in truth]:
        if [f[1:] for f in mine[1:]] == [f[1:] for f in truth[1:]] and mine[0][2] == truth[0][2]:
            return 'same line, another spelling of the file'
        return 'LINE'
    if len(mine) != len(truth):
        return 'CHAIN'
    return 'FUNCTION'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--count', type=int, default=10000)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--sites', action='store_true')
    parser.add_argument('--tool', action='append', default=[])
    parser.add_argument('--show', type=int, default=5)
    parser.add_argument('decode')
    parser.add_argument('object')
    args = parser.parse_args()
    paths = dict(tool.split('=', 1) for tool in args.tool)
    random.seed(args.seed)
    text = [s for s in sections(args.object) if s[0] == '.text'] or sections(args.object)
    ranges = functions(args.object)
    addresses = []
    for _ in range(args.count):
        _, start, size = random.choices(text, [s[2] for s in text])[0]
        addresses.append(start + random.randrange(size))
    if args.sites:
        for start, size in ranges[::100]:
            addresses += [start, start + 1, start + size - 1]
    lines = ''.join(f'{address:#x}\n' for address in addresses)
    answers = {}
    for name, ask in TOOLS.items():
        path = paths.get(name) or shutil.which(name)
        if path:
            answers[name] = ask(path, args.object, lines)
            if len(answers[name]) != len(addresses):
                sys.exit(f'{name}: {len(answers[name])} answers for {len(addresses)} addresses')
        else:
            print(f'{name}: not installed, left out')
    mine = ours(args.decode, args.object, lines)

    def majority(at, part, without=None):
        votes = collections.Counter(part(answers[n][at]) for n in REFERENCES if n in answers and n != without)
        if not votes:
            return None
        best, count = votes.most_common(1)[0]
        return best if count * 2 > sum(votes.values()) or len(votes) == 1 else None

    parts = {
        'innermost function': lambda a: a[0][0] if a else '',
        'file:line': lambda a: a[0][1:] if a else ('', 0),
        'length of chain': lambda a: len(a),
    }
    within = [inside(ranges, address) for address in addresses]
    print(f'{len(addresses)} addresses, {sum(within)} inside functions, {len(addresses) - sum(within)} in padding')
    print(f"{'':18}{'function':>12}{'file:line':>12}{'chain':>12}")
    for name, given in [('lastwords', mine), *answers.items()]:
        row = []
        for part in parts.values():
            judged = agreed = 0
            for at in range(len(addresses)):
                truth = majority(at, part, without=name)
                if within[at] and truth is not None:
                    judged += 1
                    agreed += part(given[at]) == truth
            row.append(f'{100 * agreed / max(judged, 1):.3f}%')
        print(f'{name:18}' + ''.join(f'{cell:>12}' for cell in row))

    classes = collections.defaultdict(list)
    for at, address in enumerate(addresses):
        truth = majority(at, lambda a: tuple(a))
        truth = list(truth) if truth is not None else None
        if truth is None or mine[at] == truth:
            continue
        others = {n: answers[n][at] for n in answers}
        place = 'inside' if within[at] else 'padding'
        classes[place, classify(mine[at], truth, others)].append((address, mine[at], truth))
    bad = 0
    for (place, kind), cases in sorted(classes.items()):
        print(f'{place}: {kind}: {len(cases)}')
        unknown = place == 'inside' and kind.isupper()
        bad += unknown and len(cases)
        if kind.isupper() or args.show > 5:
            for address, got, want in cases[:args.show]:
                print(f'    {address:#x}\n      ours {got}\n      most {want}')
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
