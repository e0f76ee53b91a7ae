#!/usr/bin/env python3
"""demo.py >demo.svg: a recording of the real program as a picture. As root.

Makes a vault in a directory of its own, runs the commands below in it, draws what was typed and what came, and takes
all of it away. $COFFER_BIN is the directory of coffer and cofferd; else those of $PATH are used. What is drawn is what
came, but for the directory, which is left away, and for the name of uid 1000, which is alice's in the picture.
"""
import fcntl
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile

ALICE = 1000
SESSION = (
    ('root', "coffer init /var/lib/coffer/demo --kek file:/etc/coffer/demo.kek"),
    ('root', 'cofferd /var/lib/coffer/demo /vault'),
    ('root', "printf %s 's3cret' | coffer put db"),
    ('alice', 'cat /vault/db/current'),
    ('root', 'coffer grant secrets-user user:alice --on db --until 12h'),
    ('alice', 'cat /vault/db/current'),
    ('root', "printf %s 's3cret-2' | coffer put db && coffer rollback db 1"),
    ('root', 'coffer revoke secrets-user user:alice --on db'),
    ('alice', 'cat /vault/db/current'),
    ('root', 'coffer audit --secret db'),
    ('root', 'coffer audit verify /var/lib/coffer/demo'),
)
COLUMN, LINE, MARGIN, BAR = 7.25, 17, 14, 30
STYLE = """text { font: 12px 'DejaVu Sans Mono', Menlo, Consolas, monospace; white-space: pre; fill: #d8dee9 }
.typed { fill: #fff; font-weight: bold } .root { fill: #ef8a80 } .alice { fill: #8fd18f } .deny { fill: #f2c46d }
@media (prefers-reduced-motion: no-preference) { g { animation: come .3s both } }
@keyframes come { from { opacity: 0 } to { opacity: 1 } }"""


def run(root, user, command):
    """What a command prints when its places lie below root."""
    for place in ('/var/lib/coffer', '/etc/coffer', '/vault'):
        command = command.replace(' ' + place, ' ' + root + place).replace('file:' + place, 'file:' + root + place)
    command = command.replace('user:alice', f'user:{ALICE}')
    who = [] if user == 'root' else ['setpriv', f'--reuid={ALICE}', f'--regid={ALICE}', '--clear-groups', '--']
    done = subprocess.run([*who, 'bash', '-c', command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd='/',
                          stderr=subprocess.STDOUT, timeout=60, check=False)
    text = re.sub(rf'\S+\({ALICE}\) *', lambda found: f'alice({ALICE})'.ljust(len(found[0])), done.stdout.decode())
    return text.replace(root, '').rstrip('\n').split('\n') if text else []


def record(root):
    for directory in ('var/lib/coffer', 'etc/coffer', 'vault'):
        os.makedirs(f'{root}/{directory}')
    os.environ['COFFER_MOUNT'] = f'{root}/vault'
    return [(user, command, run(root, user, command)) for user, command in SESSION]


def clean(root):
    if os.path.ismount(f'{root}/vault'):
        subprocess.run(['umount', f'{root}/vault'], check=True)
    lock = f'{root}/var/lib/coffer/demo/lock'
    if os.path.exists(lock):        # the daemon has gone when it lets go of the store
        with open(lock, encoding='ascii') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
    shutil.rmtree(root)


def rows(session):
    """(seconds, class, prompt, text) of each line."""
    at = 0.5
    for user, command, came in session:
        yield at, user, '# ' if user == 'root' else 'alice$ ', command
        at += 0.7 + 0.02 * len(command)
        for line in came:
            yield at, 'deny' if 'denied' in line or ' deny ' in line else 'came', '', line
        at += 0.9


def draw(session):
    lines = list(rows(session))
    columns = max(len(prompt + text) for _, _, prompt, text in lines)
    width, height = columns * COLUMN + 2 * MARGIN, BAR + len(lines) * LINE + MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
          f'height="{height:.0f}" role="img">\n<title>A vault is made, read, refused and audited</title>\n'
          f'<style>\n{STYLE}\n</style>\n<rect width="100%" height="100%" rx="8" fill="#1d2330"/>')
    for place, colour in enumerate(('#ef6b5e', '#f2c46d', '#8fd18f')):
        print(f'<circle cx="{MARGIN + 6 + 18 * place}" cy="16" r="5.5" fill="{colour}"/>')
    for number, (at, kind, prompt, text) in enumerate(lines):
        y = BAR + LINE * (number + 1) - 4
        print(f'<g style="animation-delay:{at:.1f}s"><text x="{MARGIN}" y="{y}" xml:space="preserve">', end='')
        if prompt:
            print(f'<tspan class="{kind}">{prompt}</tspan><tspan class="typed">{html.escape(text)}</tspan>', end='')
        else:
            print(f'<tspan class="{kind}">{html.escape(text)}</tspan>', end='')
        print('</text></g>')
    print('</svg>')


def main():
    if os.geteuid() != 0:
        sys.exit('demo.py: this mounts a vault: run it as root')
    os.environ['PATH'] = os.environ.get('COFFER_BIN', '') + ':' + os.environ['PATH']
    os.environ['LC_ALL'] = 'C'
    root = tempfile.mkdtemp(prefix='coffer-demo.')
    os.chmod(root, 0o755)
    try:
        session = record(root)
    finally:
        clean(root)
    draw(session)


main()
