"""What holds for every test."""

import os
import signal

# A parent may ignore Ctrl-C (a shell's background job, some build agents), and every child inherits
# that: the tests of Ctrl-C would wait for an end that never comes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tables fit the terminal: what the tests compare is the whole table, wherever they are run.
os.environ.pop("COLUMNS", None)
