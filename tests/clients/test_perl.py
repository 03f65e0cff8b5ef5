"""Perl's Mail::IMAPClient, with which scripts carry whole mailboxes from server to server."""

from pathlib import Path

import imapclient
import pytest

from tests.clients.words import letter, run
from tests.house.running import PASSWORD, House, trusting

PERSON = 5
FOLDER = "Công văn/Đến"

PERL = r"""
use strict; use warnings; use utf8;
use Mail::IMAPClient;
my ($port, $user, $password, $from, $to) = @ARGV;
my $client = Mail::IMAPClient->new(
    Server => '127.0.0.1', Port => $port, Ssl => [SSL_verify_mode => 0], User => $user, Password => $password,
    Authmechanism => 'PLAIN', Uid => 1, Peek => 1, Fast_io => 1,
) or die "no sign-in: $@";
$client->exists($from) and !$client->exists($to) or die 'folders';
$client->create($to) or die $client->LastError;
$client->compress or die $client->LastError;
$client->select($from) or die $client->LastError;
my @all = $client->messages;
my $told = $client->fetch_hash('RFC822.SIZE', 'FLAGS', 'INTERNALDATE', 'ENVELOPE');
for my $uid (@all) {
    my $content = $client->message_string($uid);
    length $content == $told->{$uid}{'RFC822.SIZE'} or die "size of $uid";
    my $new = $client->append_string($to, $content, $told->{$uid}{FLAGS}, $told->{$uid}{INTERNALDATE});
    $new or die $client->LastError;
}
my $flagged = $client->search('FLAGGED');
my $unseen = $client->unseen_count;
my @sorted = $client->sort('REVERSE SUBJECT', 'UTF-8', 'ALL');
my $threads = $client->thread('REFERENCES', 'UTF-8', 'ALL');
my $parts = $client->get_bodystructure($all[0]);
$client->copy($to, $all[0]) or die $client->LastError;
$client->move($to, $all[1]) or die $client->LastError;
$client->expunge($from);
$client->delete_message($all[2]) or die $client->LastError;
$client->expunge;
$client->idle or die $client->LastError;
$client->done or die $client->LastError;
print join ' ', scalar @all, scalar @$flagged, $unseen, "@sorted", scalar @$threads, $parts->bodytype,
    $client->message_count($from), $client->message_count($to), "\n";
$client->logout;
"""


@pytest.fixture
def client(house: House) -> imapclient.IMAPClient:
    client = imapclient.IMAPClient("127.0.0.1", house.port("imaps"), ssl_context=trusting(), timeout=30)
    client.plain_login(house.address(PERSON), PASSWORD)
    return client


def test_mail_imapclient(house: House, client: imapclient.IMAPClient, tmp_path: Path) -> None:
    """Copies a folder letter by letter, as its users' migration scripts do."""
    client.create_folder(FOLDER)
    for n in range(6):
        flags = [b"\\Flagged"] * (n == 0) + [b"\\Seen"] * (n % 2)
        client.append(FOLDER, letter("a@xa.test", "b@xa.test", f"So {n}", f"Thân thư {n}\r\n.\r\n"), flags)
    script = tmp_path / "carry.pl"
    script.write_text(PERL, "utf-8")
    names = [imapclient.imap_utf7.encode(name).decode() for name in (FOLDER, "Công văn/Lưu")]
    said = run("perl", str(script), str(house.port("imaps")), house.address(PERSON), PASSWORD, *names).stdout
    assert said.decode().split() == ["6", "1", "3", "6", "5", "4", "3", "2", "1", "6", "TEXT", "4", "8"]
    client.select_folder("Công văn/Lưu")
    rows = client.fetch(client.search(), ["BODY[]", "FLAGS"])
    assert [row[b"BODY[]"] for row in rows.values()][:6] == [
        letter("a@xa.test", "b@xa.test", f"So {n}", f"Thân thư {n}\r\n.\r\n") for n in range(6)
    ]
    assert {b"\\Flagged"} <= set(rows[1][b"FLAGS"])
    client.logout()
