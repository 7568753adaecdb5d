"""The writes of a conversation, as jobs of the store: each applies all of its kind in a few statements.

Locks are taken in one order: all sessions of a transaction by id, then turns, which are written under their session's
lock only. Under it `seq` and ids only grow.
"""

from conversations.jobs.handover import Handed, HeldByAnother, Hold, MarkDone, Release
from conversations.jobs.operators import OperatorSays
from conversations.jobs.opinions import SaveFeedback
from conversations.jobs.outbox import ClaimOutbox, Letter, SettleOutbox
from conversations.jobs.questions import IDEMPOTENT_FOR, OPEN_TURNS, Accept, IdReused, QueueFull
from conversations.jobs.requests import SettleRequests
from conversations.jobs.resets import Reset
from conversations.jobs.turns import Begin, Finish, Finished, GiveUp, SavePartial, TakeOver
from conversations.jobs.uploads import PurgeUploads, StoreUpload, UploadsFull, UploadTaken

__all__ = [
    "IDEMPOTENT_FOR",
    "OPEN_TURNS",
    "Accept",
    "Begin",
    "ClaimOutbox",
    "Finish",
    "Finished",
    "GiveUp",
    "Handed",
    "HeldByAnother",
    "Hold",
    "IdReused",
    "Letter",
    "MarkDone",
    "OperatorSays",
    "PurgeUploads",
    "QueueFull",
    "Release",
    "Reset",
    "SaveFeedback",
    "SavePartial",
    "SettleOutbox",
    "SettleRequests",
    "StoreUpload",
    "TakeOver",
    "UploadTaken",
    "UploadsFull",
]
