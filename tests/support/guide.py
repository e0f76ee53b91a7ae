#!/usr/bin/env python3
"""guide.py ROOT PAGE [--update]: runs the console sessions of a page, in order, and compares what they print.

A session is a block that begins with ```console. A line that begins with "# " is typed by root, with "alice$ " or
"bob$ " by that user; "> " goes on with the line before it. What follows is what the page says that comes.
```console norun is listed and not run.

ROOT stands for / wherever a page names a place that a vault, a key or a mount has (PLACES). alice and bob are uids
that no account has. These differ from run to run and are not compared: times, dates of ls, runs of 32 and more
hexadecimal digits, the width of columns. "..." in a line is any text, a line "..." any lines.

--update writes what came into the page, where it is another; read the difference before you keep it.
"""
import os
import re
import subprocess
import sys

PLACES = ('/vaults', '/vault', '/var/lib/coffer', '/etc/coffer', '/etc/credstore.encrypted', '/srv',
          '/media/usb', '/dev/shm', '/usr/local/sbin/renew-password')
USERS = {'root': 0, 'alice': 20001, 'bob': 20002}
IN_PAGES = {'alice': 1000, 'bob': 1001}
PROMPT = re.compile(r'(?:(#)|(alice|bob)\$) (.*)')
PLACE = re.compile(r'(?<![\w./~-])(' + '|'.join(map(re.escape, PLACES)) + r')(?![\w.-])')


class Shell:
    """One user's shell, which keeps its variables and its directory from block to block."""

    def __init__(self, root, user):
        uid = USERS[user]
        who = [] if uid == 0 else ['setpriv', f'--reuid={uid}', f'--regid={uid}', '--clear-groups', '--']
        self.mark = f'@@{os.urandom(8).hex()} '
        self.process = subprocess.Popen(
            [*who, 'bash', '--noprofile', '--norc'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, cwd=f'{root}/home/{user}', env={**os.environ, 'HOME': f'{root}/home/{user}'})

    def run(self, command):
        """What the command printed, and its exit status."""
        # $? stays what the reader would see, for "echo $?" in the next line
        text = f'__last() {{ return ${{__status:-0}}; }}; __last\n{{ {command}\n}} </dev/null\n' \
               f'__status=$?; printf "\\n{self.mark}%d\\n" $__status\n'
        if '<<' in command:
            text = f'{command}\n__status=$?; printf "\\n{self.mark}%d\\n" $__status\n'
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()
        out = b''
        while True:
            line = self.process.stdout.readline()
            if not line:
                return out.decode(errors='replace'), -1
            if line.startswith(self.mark.encode()):
                return out.decode(errors='replace').rstrip('\n'), int(line.split()[1])
            out += line


def alike(text):
    """The text without what differs from run to run."""
    for name, uid in IN_PAGES.items():
        own = USERS[name]
        text = re.sub(rf'\b{name}\({uid}\)|\b{name}\b|\b{uid}\b|\b{own}\({own}\)|\b{own}\b', name.upper(), text)
    text = re.sub(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z', 'TIME', text)
    text = re.sub(r'\b[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d\b', 'DATE', text)
    text = re.sub(r'\b[0-9a-f]{32,}\b', 'HEX', text)
    return re.sub(r'[ \t]+', ' ', text).strip()


def pattern(lines):
    """A regular expression of what a page shows."""
    parts = []
    for line in lines:
        if line.strip() == '...':
            parts.append(r'(?:.*\n)*?')
        else:
            parts.append('.*?'.join(re.escape(alike(part)) if part == line else re.escape(alike('|' + part + '|')[1:-1])
                                    for part in line.split('...')).strip() + r' *\n')
    return re.compile(''.join(parts))


def matches(shown, came):
    return pattern(shown).fullmatch(''.join(alike(line) + '\n' for line in came)) is not None


def sessions(lines):
    """(kind, first line, line after the last) of each block; kind is run or norun."""
    start = kind = None
    for number, line in enumerate(lines):
        words = line.strip().split()
        if start is None and words[:1] == ['```console']:
            start, kind = number + 1, 'norun' if 'norun' in words else 'run'
        elif start is None and line.startswith('```'):
            start, kind = number + 1, 'other'
        elif start is not None and line.startswith('```'):
            yield kind, start, number
            start = None


def commands(lines, first, end):
    """(user, command, line of the command, first line of its output, line after it) of each prompt in a block."""
    found = []
    number = first
    while number < end:
        prompt = PROMPT.fullmatch(lines[number])
        if not prompt:
            sys.exit(f'line {number + 1}: output without a command: {lines[number]}')
        at, text, user = number, prompt[3], 'root' if prompt[1] else prompt[2]
        number += 1
        while number < end and lines[number].startswith('> '):
            text += '\n' + lines[number][2:]
            number += 1
        output = number
        while number < end and not PROMPT.fullmatch(lines[number]):
            number += 1
        found.append((user, text, at, output, number))
    return found


def typed(root, command):
    command = PLACE.sub(rf'{root}\1', command)
    if '--kek' not in command:
        command = re.sub(r'\bcoffer init \S*/(\w+)', rf'\g<0> --kek file:{root}/etc/coffer/\1.kek', command)
    for name in IN_PAGES:
        command = re.sub(rf'\b(user|group):{name}\b', rf'\g<1>:{USERS[name]}', command)
    return command


def printed(root, text):
    text = text.replace(root, '').replace('coffer -m /vault ', 'coffer ')
    for name, uid in IN_PAGES.items():
        own = USERS[name]
        text = re.sub(rf'\b{own}\b', str(uid), text)
    return text.split('\n') if text else []


def main():
    root, page = sys.argv[1:3]
    update = '--update' in sys.argv
    lines = open(page, encoding='utf-8').read().split('\n')
    shells, result, done, ran, wrong = {}, [], 0, 0, 0
    for kind, first, end in sessions(lines):
        if kind == 'norun':
            print(f'not run: {os.path.basename(page)}:{first}: {lines[first]}')
        if kind != 'run':
            continue
        for user, command, at, output, after in commands(lines, first, end):
            if user not in shells:
                shells[user] = Shell(root, user)
            out, status = shells[user].run(typed(root, command))
            came = printed(root, out)
            ran += 1
            if status in (126, 127, -1) or not matches(lines[output:after], came):
                wrong += 1
                print(f'{page}:{at + 1}: {lines[at]}\n  status {status}; the page shows:')
                print('\n'.join('    ' + line for line in lines[output:after]))
                print('  what came:\n' + '\n'.join('    ' + line for line in came), flush=True)
                if update:
                    result += lines[done:output] + came
                    done = after
            if status == -1:
                sys.exit(f'{page}: the shell of {user} ended')
    for shell in shells.values():
        shell.process.stdin.close()
        shell.process.wait()
    if update:
        open(page, 'w', encoding='utf-8').write('\n'.join(result + lines[done:]))
    print(f'{os.path.basename(page)}: {ran} commands run, {wrong} wrong')
    sys.exit(1 if wrong else 0)


main()
