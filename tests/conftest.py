"""What holds for every test."""

import signal

# A parent may ignore Ctrl-C (a shell's background job, some build agents), and every child inherits
# that: the tests of Ctrl-C would wait for an end that never comes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
