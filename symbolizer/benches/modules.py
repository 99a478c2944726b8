#!/usr/bin/env python3
"""Compare answers for modules (relocatable objects) with those of addr2line and llvm-symbolizer.

usage: modules.py [--prefix riscv64-linux-gnu-] DECODE MODULE.ko...

Those two cannot tell `.init.text+1` from `.text+1`, so each module is linked first, with every executable section at
the address that lastwords gives it. Asked is at every boundary of the line table, one byte before and one behind it,
in every executable section. Exit status 1 when function or line differ from what the two others agree on. PREFIX names
the linker, addr2line and readelf of another machine.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

from agreement import addr2line, frame, llvm, run


def ours(decode, module, lines):
    """Addresses as lastwords counts them, and its answers."""
    addresses, answers = [], []
    for line in run([decode, 'symbols', 'lookup', '--vmlinux', module], lines).splitlines():
        found = json.loads(line)
        addresses.append(int(found['addr'], 16))
        answers.append([frame(f['function'] or '??', f"{f['file'] or '??'}:{f['line']}") for f in found['frames']])
    return addresses, answers


def boundaries(linked, prefix):
    """Every address of the line table."""
    out = subprocess.run([f'{prefix}readelf', '--debug-dump=rawline', linked], capture_output=True, text=True).stdout
    return {int(at, 16) for at in re.findall(r'(?:to|set Address to) (0x[0-9a-f]+)', out)}


def check(decode, module, folder, prefix):
    out = subprocess.run([f'{prefix}readelf', '-SW', module], capture_output=True, text=True).stdout
    found = re.findall(r'\] (\S+)\s+PROGBITS\s+[0-9a-f]+ [0-9a-f]+ ([0-9a-f]+) \S+\s+AX', out)
    sections = [(name, int(size, 16)) for name, size in found if int(size, 16)]
    bases, _ = ours(decode, module, ''.join(f'{name}+0x0\n' for name, _ in sections))
    linked = os.path.join(folder, 'linked.elf')
    # A script of our own, since the default one would merge `.text.unlikely` into `.text`.
    placed = ' '.join(f'{name} {base:#x} : {{ *({name}) }}' for (name, _), base in zip(sections, bases))
    path = os.path.join(folder, 'script.ld')
    with open(path, 'w') as file:
        file.write(f'SECTIONS {{ {placed} }}')
    done = subprocess.run(
        [f'{prefix}ld', '-e', '0', '--unresolved-symbols=ignore-all', '-T', path, '--no-relax', '--noinhibit-exec',
         '-o', linked, module], capture_output=True, text=True)
    if not os.path.exists(linked):
        sys.exit(f'ld: {done.stderr[:500]}')
    spans = [(base, base + size) for (_, size), base in zip(sections, bases)]
    wanted = {at + near for at in boundaries(linked, prefix) for near in (-1, 0, 1)}
    wanted |= {at for start, end in spans for at in (start, end - 1)}
    addresses = sorted(at for at in wanted if any(start <= at < end for start, end in spans))
    lines = ''.join(f'{at:#x}\n' for at in addresses)
    _, mine = ours(decode, module, lines)
    first, second = addr2line(f'{prefix}addr2line', linked, lines), llvm('llvm-symbolizer', linked, lines)
    judged = {'function': 0, 'file:line': 0, 'chain': 0}
    wrong = []
    for at, got, a, b in zip(addresses, mine, first, second):
        parts = {
            'function': lambda x: x[0][0] if x else '',
            # Without a line the others name the file of the symbol table.
            'file:line': lambda x: x[0][1:] if x and x[0][2] else ('', 0),
            'chain': lambda x: len([f for f in x if f[2]]),
        }
        for name, part in parts.items():
            if part(a) == part(b):
                judged[name] += 1
                if part(got) != part(a):
                    wrong.append((name, at, got, a))
    print(f"{os.path.basename(module):28} {len(addresses):7} addresses, both agree on "
          f"{judged['function']} functions, {judged['file:line']} lines, {judged['chain']} chains; wrong: {len(wrong)}")
    for name, at, got, want in wrong[:5]:
        print(f'    {name} at {at:#x}\n      ours {got}\n      they {want}')
    os.unlink(linked)
    return len(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--prefix', default='')
    parser.add_argument('decode')
    parser.add_argument('modules', nargs='+')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = sum(check(args.decode, module, folder, args.prefix) for module in args.modules)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
