#!/bin/sh
# Makes the system users that the daemon's processes run under, where they are missing: for tests and benchmarks. As root.
set -eu

for user in coffer coffer-keys coffer-helper coffer-hooks; do
	getent passwd "$user" >/dev/null ||
		useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$user"
done
