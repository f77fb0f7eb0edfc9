"""The command that builds the book: ``python -m mnemonic.publish --profile quick``.

``mnemonic.press.publish`` does the work, and says what the command takes.
"""

import sys

from mnemonic.press.publish import as_command

if __name__ == "__main__":
    sys.exit(as_command())
