"""Names of the standard library that Python has on Linux and macOS, and not on Windows."""

# Python's documentation says "Availability: Unix" or "not Windows" of each.
NAMES = {
  'os': frozenset(
    {
      'WNOHANG',
      'chown',
      'chroot',
      'fchmod',
      'fchown',
      'fork',
      'forkpty',
      'getegid',
      'geteuid',
      'getgid',
      'getloadavg',
      'getpgid',
      'getuid',
      'killpg',
      'lchown',
      'mkfifo',
      'mknod',
      'nice',
      'pathconf',
      'posix_fadvise',
      'posix_fallocate',
      'posix_spawn',
      'pread',
      'pwrite',
      'sched_getaffinity',
      'setsid',
      'statvfs',
      'sysconf',
      'sysconf_names',
      'uname',
      'wait',
      'wait3',
      'wait4',
    }
  ),
  'signal': frozenset(
    {
      'SIGALRM',
      'SIGCHLD',
      'SIGCONT',
      'SIGHUP',
      'SIGKILL',
      'SIGPIPE',
      'SIGQUIT',
      'SIGSTOP',
      'SIGTSTP',
      'SIGUSR1',
      'SIGUSR2',
      'alarm',
      'pause',
      'pthread_kill',
      'setitimer',
      'siginterrupt',
      'sigwait',
    }
  ),
}
MODULES = frozenset({'fcntl', 'grp', 'posix', 'pty', 'pwd', 'resource', 'readline', 'syslog', 'termios', 'tty'})
