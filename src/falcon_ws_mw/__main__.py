"""`python -m falcon_ws_mw`: the command line."""

import sys

from falcon_ws_mw.cli import main

sys.exit(main())
