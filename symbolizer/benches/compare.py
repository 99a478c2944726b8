#!/usr/bin/env python3
"""Time `lastwords-decode symbols` against the other symbolizers, in interleaved runs, and print ratios.

usage: compare.py [--runs N] [--symcache PROGRAM] [--json FILE] DECODE VMLINUX

DECODE is a release build of lastwords-decode; PROGRAM is symcache/ beside this file, built with --release.
blazecli, llvm-symbolizer, addr2line and eu-addr2line are taken from PATH, or left out. Each run takes every command
once, so that what else the machine does falls on all alike; printed are the median wall time, the median processor
time and the largest peak memory of each, and the ratios that the project promises.
"""
import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from agreement import sections


def measure(command, text):
    """Wall seconds, processor seconds, peak memory in MiB of one run."""
    with tempfile.TemporaryFile() as given:
        given.write(text.encode())
        given.seek(0)
        begin = time.perf_counter()
        child = subprocess.Popen(command, stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
    if status:
        sys.exit(f'{command[0]} failed: {status}')
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=int, default=7)
    parser.add_argument('--symcache')
    parser.add_argument('--json')
    parser.add_argument('--slow', action='store_true', help='ask addr2line and eu-addr2line for 10,000 too')
    parser.add_argument('decode')
    parser.add_argument('vmlinux')
    args = parser.parse_args()
    decode, vmlinux = args.decode, args.vmlinux
    random.seed(1)
    _, start, size = next(s for s in sections(vmlinux) if s[0] == '.text')
    many = [f'{start + random.randrange(size):#x}' for _ in range(10000)]
    few = many[:30]
    with open(vmlinux, 'rb') as file:  # into the page cache
        while file.read(1 << 24):
            pass
    folder = tempfile.mkdtemp()
    index, cache = os.path.join(folder, 'index'), os.path.join(folder, 'cache')
    subprocess.run([decode, 'symbols', 'index', '--out', index, vmlinux], check=True)
    jobs = {
        'lastwords: build': ([decode, 'symbols', 'index', '--out', index + '2', vmlinux], ''),
        'lastwords: 10,000 by index': ([decode, 'symbols', 'lookup', '--index', index], '\n'.join(many)),
        'lastwords: 30, no index': ([decode, 'symbols', 'lookup', '--vmlinux', vmlinux], '\n'.join(few)),
        'lastwords: 10,000, no index': ([decode, 'symbols', 'lookup', '--vmlinux', vmlinux], '\n'.join(many)),
    }
    if args.symcache:
        subprocess.run([args.symcache, 'build', vmlinux, cache], check=True)
        # Its addresses count from the lowest loaded one.
        out = subprocess.run(['readelf', '-lW', vmlinux], capture_output=True, text=True).stdout
        loads = [int(line.split()[2], 16) for line in out.splitlines() if line.split()[:1] == ['LOAD']]
        base = hex(min(at for at in loads if at))
        jobs['symcache: build'] = ([args.symcache, 'build', vmlinux, cache + '2'], '')
        jobs['symcache: 10,000'] = ([args.symcache, 'lookup', cache, base], '\n'.join(many))
    if blaze := shutil.which('blazecli'):
        command = [blaze, 'symbolize', 'elf', '--path', vmlinux, '--']
        jobs['blazecli: 30'] = (command + few, '')
        jobs['blazecli: 10,000'] = (command + many, '')
    if llvm := shutil.which('llvm-symbolizer'):
        jobs['llvm-symbolizer: 30'] = ([llvm, f'--obj={vmlinux}'], '\n'.join(few))
        jobs['llvm-symbolizer: 10,000'] = ([llvm, f'--obj={vmlinux}'], '\n'.join(many))
    for name in ('addr2line', 'eu-addr2line'):
        if path := shutil.which(name):
            jobs[f'{name}: 30'] = ([path, '-afi', '-e', vmlinux], '\n'.join(few))
            if args.slow:
                jobs[f'{name}: 10,000'] = ([path, '-afi', '-e', vmlinux], '\n'.join(many))
    results = {name: [] for name in jobs}
    for _ in range(args.runs):
        for name, (command, text) in jobs.items():
            results[name].append(measure(command, text))
    table = {}
    print(f"{'':30}{'wall s':>10}{'cpu s':>10}{'MiB':>8}")
    for name, runs in results.items():
        wall, cpu, memory = (statistics.median(r[0] for r in runs), statistics.median(r[1] for r in runs),
                             max(r[2] for r in runs))
        table[name] = {'wall': wall, 'cpu': cpu, 'mib': memory}
        print(f'{name:30}{wall:10.4f}{cpu:10.4f}{memory:8.0f}')
    table['files'] = {'index': os.path.getsize(index)}
    print(f"index file {os.path.getsize(index) / 1e6:.1f} MB", end='')
    if args.symcache:
        table['files']['symcache'] = os.path.getsize(cache)
        print(f", symcache file {os.path.getsize(cache) / 1e6:.1f} MB", end='')
    print()

    def ratio(what, ours, theirs, limit):
        if theirs in table:
            # Pair by pair within one run, then the median: noise hits both.
            pairs = [a[0] / b[0] for a, b in zip(results[ours], results[theirs])]
            value = statistics.median(pairs)
            print(f"{what:52}{value:8.4f}  promised {limit:.4f}  {'met' if value <= limit else 'NOT MET'}")

    ratio('10,000 by index / blazecli', 'lastwords: 10,000 by index', 'blazecli: 10,000', 1 / 40)
    ratio('10,000 by index / symcache', 'lastwords: 10,000 by index', 'symcache: 10,000', 1 / 2)
    ratio('30 without index / blazecli', 'lastwords: 30, no index', 'blazecli: 30', 1)
    ratio('30 without index / llvm-symbolizer', 'lastwords: 30, no index', 'llvm-symbolizer: 30', 1 / 3)
    ratio('build / symcache build', 'lastwords: build', 'symcache: build', 0.4)
    if args.json:
        with open(args.json, 'w') as file:
            json.dump(table, file, indent=1)
    shutil.rmtree(folder)


if __name__ == '__main__':
    main()
