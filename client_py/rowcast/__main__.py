"""`python -m rowcast` is `rowcast`."""

import sys

from .cli import main

sys.exit(main())
