"""Tables on the terminal."""

import io

import pytest

from dcgan_jax.reporting import tables

LONG = 'n' * 200


class Terminal(io.StringIO):
  encoding = 'utf-8'

  def isatty(self):
    return True


def test_a_table_in_a_pipe_is_whole_and_plain(capsys, monkeypatch):
  monkeypatch.setenv('COLUMNS', '40')
  monkeypatch.setenv('FORCE_COLOR', '1')
  tables.show(['name', 'score'], [[LONG, '1.0'], ['b', '12.0']], title='Scores')
  title, head, line, first, second = capsys.readouterr().out.splitlines()
  assert (title, head.split(), first.split(), second.split()) == (
    'Scores',
    ['name', 'score'],
    [LONG, '1.0'],
    ['b', '12.0'],
  )
  assert set(line.strip()) <= {'─', '-', ' '}
  assert len(first) == len(second)
  assert second.endswith(' 12.0')


@pytest.mark.parametrize('make', [io.StringIO, Terminal], ids=['pipe', 'terminal'])
def test_a_name_cannot_command_the_terminal(make, monkeypatch):
  out = make()
  monkeypatch.setattr('sys.stdout', out)
  monkeypatch.setenv('TERM', 'dumb')
  tables.show(['name'], [['a\x1b]0;owned\x07\x9b31m\nb[bold]c[/]']], title='t\x1b[2J')
  text = out.getvalue()
  assert not set('\x1b\x07\x9b') & set(text)
  assert 'a]0;owned31m b[bold]c[/]' in text
