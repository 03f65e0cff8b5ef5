#!/bin/sh
# Sees to it that the programs the tests (or, with "bench", the benchmark) use are there: Debian's packages, by apt when root.
# No argument: PostgreSQL and the mail clients. "bench": Postfix, Dovecot and a C compiler.
set -eu
missing=""
need() { # program, package
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
PATH="$PATH:/usr/sbin:/sbin"
if [ "${1:-tests}" = bench ]; then
    need gcc gcc
    [ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
    need postfix postfix
    need dovecot dovecot-imapd
    [ -x /usr/lib/dovecot/lmtp ] || missing="$missing dovecot-lmtpd"
else
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
    need gcc gcc
    [ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
    need mkfs.ext4 e2fsprogs
    need mbsync isync
    need curl curl
    need mpop mpop
    need fetchmail fetchmail
    need offlineimap offlineimap3
    need imapfilter imapfilter
    need swaks "swaks libnet-ssleay-perl"
    if command -v perl >/dev/null 2>&1 && ! perl -MNet::SSLeay -e 1 2>/dev/null; then missing="$missing libnet-ssleay-perl"; fi
    perl -MMail::IMAPClient -MIO::Socket::SSL -e 1 2>/dev/null || missing="$missing libmail-imapclient-perl libio-socket-ssl-perl"
fi
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "Cần cài gói của Debian, xin chạy bằng quyền root / these Debian packages are needed; as root run:" >&2
    echo "    apt-get install$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Postfix is only used with a configuration of the benchmark's own.
case "$missing" in *postfix*) echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections ;; esac
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
