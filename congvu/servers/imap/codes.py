"""How refusals are told in IMAP: the response codes (rfc9051 7.1, RFC 5530) of the catalogue's words."""

from congvu.mailstore.metadata import MAX_VALUE

# What is not here goes without a code; `NotNow` has UNAVAILABLE.
RESPONSE_CODES = {
    "no-such-mailbox": "NONEXISTENT",
    "mailbox-exists": "ALREADYEXISTS",
    "bad-mailbox-name": "CANNOT",
    "special-mailbox": "CANNOT",
    "no-permission": "NOPERM",
    "access-ended": "NOPERM",
    "not-for-others": "NOPERM",
    "no-such-identifier": "CANNOT",
    "owner-has-all": "CANNOT",
    "other-account": "CANNOT",
    "too-many-shares": "LIMIT",
    "role-taken": "USEATTR",
    "role-unknown": "USEATTR",
    "too-many-mailboxes": "LIMIT",
    "too-many-keywords": "LIMIT",
    "too-many-letters": "OVERQUOTA",
    "metadata-too-big": f"METADATA MAXSIZE {MAX_VALUE}",
    "metadata-too-many": "METADATA TOOMANY",
    "metadata-not-yours": "NOPERM",
    "metadata-unknown": "CANNOT",
    "quota-not-yours": "NOPERM",
    "no-such-quota-root": "NONEXISTENT",
    "notify-too-much": "NOTIFICATIONOVERFLOW",
    "copy-too-many": "LIMIT",
    "rename-too-many": "LIMIT",
    "search-too-many-texts": "LIMIT",
    "thread-too-many": "LIMIT",
    "over-quota": "OVERQUOTA",
    "disk-full": "OVERQUOTA",
    "letter-too-big": "TOOBIG",
    "compression-active": "COMPRESSIONACTIVE",
    "append-too-many": "LIMIT",
    "mailbox-read-only": "READ-ONLY",
    "expunge-issued": "EXPUNGEISSUED",
    "bad-credentials": "AUTHENTICATIONFAILED",
    "bad-auth-message": "AUTHENTICATIONFAILED",
    "bad-channel-binding": "AUTHENTICATIONFAILED",
    "no-such-authorization": "AUTHORIZATIONFAILED",
    "account-locked": "CONTACTADMIN",
    "tls-first": "PRIVACYREQUIRED",
    "imap-unknown-encoding": "UNKNOWN-CTE",
    "letter-damaged": "CORRUPTION",
    "uid-required": "UIDREQUIRED",
    "bad-event": "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange"
    " MailboxMetadataChange ServerMetadataChange)",
}
# Answered BAD: the client's programmer must look.
SYNTAX = frozenset({"bad-sequence", "imap-syntax", "uid-required"})
