"""drgn_stacks.py DUMP VMLINUX: all tasks' stacks as drgn prints them; the last line is the peak memory in KB."""
import resource
import sys

import drgn
from drgn.helpers.linux.pid import for_each_task

prog = drgn.Program()
prog.set_core_dump(sys.argv[1])
prog.load_debug_info([sys.argv[2]])
for task in for_each_task(prog):
    print(task.comm.string_().decode(), prog.stack_trace(task))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
