"""What holds for every test."""

import os
import signal

from hypothesis import HealthCheck, settings

# A parent may ignore Ctrl-C (a shell's background job, some build agents), and every child inherits
# that: the tests of Ctrl-C would wait for an end that never comes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tables fit the terminal: what the tests compare is the whole table, wherever they are run.
os.environ.pop("COLUMNS", None)

# A busy machine is no fault of what is tested: no example has to be ready in so many milliseconds.
settings.register_profile("edgerep", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edgerep")
