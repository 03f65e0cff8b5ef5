"""What the dialogs of more than one file are played with."""

from tests.talk.test_imap import program

__all__ = ["program"]
