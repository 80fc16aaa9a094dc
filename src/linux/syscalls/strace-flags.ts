/** How flag and enumeration arguments read. Each table turns the low 32 bits into text. */

type Decode = (value: number) => string

/** `A|B|0x8`: bits by name; `zero` is what 0 is called. */
function flags(names: Readonly<Record<string, number>>, zero = '0'): Decode {
  const entries = Object.entries(names)
  return (value) => {
    const found: string[] = []
    let rest = value
    for (const [name, bits] of entries) {
      if (bits !== 0 && (rest & bits) >>> 0 === bits >>> 0) {
        found.push(name)
        rest &= ~bits
      }
    }
    if (rest !== 0) found.push(`0x${(rest >>> 0).toString(16)}`)
    return found.length === 0 ? zero : found.join('|')
  }
}

function choice(names: Readonly<Record<number, string>>): Decode {
  return (value) => names[value] ?? `0x${value.toString(16)}`
}

const openFlags = flags(
  {
    O_CREAT: 0o100,
    O_EXCL: 0o200,
    O_NOCTTY: 0o400,
    O_TRUNC: 0o1000,
    O_APPEND: 0o2000,
    O_NONBLOCK: 0o4000,
    O_DIRECTORY: 0o200000,
    O_NOFOLLOW: 0o400000,
    O_CLOEXEC: 0o2000000,
    O_PATH: 0o10000000,
  },
  '',
)
const mapFlags = flags(
  {
    MAP_FIXED: 0x10,
    MAP_ANONYMOUS: 0x20,
    MAP_32BIT: 0x40,
    MAP_GROWSDOWN: 0x100,
    MAP_DENYWRITE: 0x800,
    MAP_LOCKED: 0x2000,
    MAP_NORESERVE: 0x4000,
    MAP_POPULATE: 0x8000,
    MAP_STACK: 0x20000,
    MAP_HUGETLB: 0x40000,
    MAP_FIXED_NOREPLACE: 0x100000,
  },
  '',
)
const cloneFlags = flags(
  {
    CLONE_VM: 0x100,
    CLONE_FS: 0x200,
    CLONE_FILES: 0x400,
    CLONE_SIGHAND: 0x800,
    CLONE_PTRACE: 0x2000,
    CLONE_VFORK: 0x4000,
    CLONE_PARENT: 0x8000,
    CLONE_THREAD: 0x10000,
    CLONE_SYSVSEM: 0x40000,
    CLONE_SETTLS: 0x80000,
    CLONE_PARENT_SETTID: 0x100000,
    CLONE_CHILD_CLEARTID: 0x200000,
    CLONE_CHILD_SETTID: 0x1000000,
  },
  '',
)

const join = (first: string, rest: string): string => (rest === '' ? first : `${first}|${rest}`)

export const flagTables: Readonly<Record<string, Decode>> = {
  PROT: flags({ PROT_READ: 1, PROT_WRITE: 2, PROT_EXEC: 4 }, 'PROT_NONE'),
  MAP: (value) => join(['MAP_FILE', 'MAP_SHARED', 'MAP_PRIVATE', 'MAP_SHARED_VALIDATE'][value & 3], mapFlags(value & ~3)),
  OPEN: (value) => join(['O_RDONLY', 'O_WRONLY', 'O_RDWR', 'O_ACCMODE'][value & 3], openFlags(value & ~3 & ~0o100000)),
  AT: flags({ AT_SYMLINK_NOFOLLOW: 0x100, AT_REMOVEDIR: 0x200, AT_SYMLINK_FOLLOW: 0x400, AT_EMPTY_PATH: 0x1000 }),
  SEEK: choice({ 0: 'SEEK_SET', 1: 'SEEK_CUR', 2: 'SEEK_END', 3: 'SEEK_DATA', 4: 'SEEK_HOLE' }),
  MADV: choice({
    4: 'MADV_DONTNEED',
    8: 'MADV_FREE',
    9: 'MADV_REMOVE',
    14: 'MADV_HUGEPAGE',
    15: 'MADV_NOHUGEPAGE',
    16: 'MADV_DONTDUMP',
  }),
  SIG_HOW: choice({ 0: 'SIG_BLOCK', 1: 'SIG_UNBLOCK', 2: 'SIG_SETMASK' }),
  CLOCK: choice({
    0: 'CLOCK_REALTIME',
    1: 'CLOCK_MONOTONIC',
    2: 'CLOCK_PROCESS_CPUTIME_ID',
    3: 'CLOCK_THREAD_CPUTIME_ID',
    4: 'CLOCK_MONOTONIC_RAW',
  }),
  CLONE: (value) =>
    join(cloneFlags(value & ~0xff), (value & 0xff) === 17 ? 'SIGCHLD' : (value & 0xff) === 0 ? '' : String(value & 0xff)),
  WAIT: flags({ WNOHANG: 1, WSTOPPED: 2, WEXITED: 4, WCONTINUED: 8, __WALL: 0x40000000 }),
  FUTEX: (value) =>
    join(
      choice({
        0: 'FUTEX_WAIT',
        1: 'FUTEX_WAKE',
        3: 'FUTEX_REQUEUE',
        4: 'FUTEX_CMP_REQUEUE',
        5: 'FUTEX_WAKE_OP',
        9: 'FUTEX_WAIT_BITSET',
        10: 'FUTEX_WAKE_BITSET',
      })(value & 0x7f),
      flags({ FUTEX_PRIVATE_FLAG: 128, FUTEX_CLOCK_REALTIME: 256 }, '')(value & ~0x7f),
    ),
  FCNTL: choice({
    0: 'F_DUPFD',
    1: 'F_GETFD',
    2: 'F_SETFD',
    3: 'F_GETFL',
    4: 'F_SETFL',
    1030: 'F_DUPFD_CLOEXEC',
    1033: 'F_ADD_SEALS',
    1034: 'F_GET_SEALS',
  }),
  RLIMIT: choice({
    0: 'RLIMIT_CPU',
    2: 'RLIMIT_DATA',
    3: 'RLIMIT_STACK',
    4: 'RLIMIT_CORE',
    7: 'RLIMIT_NOFILE',
    8: 'RLIMIT_MEMLOCK',
    9: 'RLIMIT_AS',
  }),
  ARCH: choice({
    4097: 'ARCH_SET_GS',
    4098: 'ARCH_SET_FS',
    4099: 'ARCH_GET_FS',
    4100: 'ARCH_GET_GS',
    4113: 'ARCH_GET_CPUID',
    4114: 'ARCH_SET_CPUID',
    4129: 'ARCH_GET_XCOMP_SUPP',
    4130: 'ARCH_GET_XCOMP_PERM',
    4131: 'ARCH_REQ_XCOMP_PERM',
    4132: 'ARCH_GET_XCOMP_GUEST_PERM',
    4133: 'ARCH_REQ_XCOMP_GUEST_PERM',
    20481: 'ARCH_SHSTK_ENABLE',
    20482: 'ARCH_SHSTK_DISABLE',
    20483: 'ARCH_SHSTK_LOCK',
    20484: 'ARCH_SHSTK_UNLOCK',
    20485: 'ARCH_SHSTK_STATUS',
  }),
  PTRACE: choice({
    0: 'PTRACE_TRACEME',
    2: 'PTRACE_PEEKDATA',
    3: 'PTRACE_PEEKUSER',
    5: 'PTRACE_POKEDATA',
    6: 'PTRACE_POKEUSER',
    7: 'PTRACE_CONT',
    8: 'PTRACE_KILL',
    9: 'PTRACE_SINGLESTEP',
    12: 'PTRACE_GETREGS',
    13: 'PTRACE_SETREGS',
    16: 'PTRACE_ATTACH',
    17: 'PTRACE_DETACH',
    24: 'PTRACE_SYSCALL',
    16896: 'PTRACE_SETOPTIONS',
    16900: 'PTRACE_GETREGSET',
    16901: 'PTRACE_SETREGSET',
    16902: 'PTRACE_SEIZE',
  }),
  /** Names of ioctls are registered by whoever implements them. */
  IOCTL: (value) => ioctlNames.get(value) ?? `0x${value.toString(16)}`,
}

const ioctlNames = new Map<number, string>([
  [0x5401, 'TCGETS'],
  [0x5413, 'TIOCGWINSZ'],
  [0x541b, 'FIONREAD'],
  [0x5421, 'FIONBIO'],
  [0x5450, 'FIONCLEX'],
  [0x5451, 'FIOCLEX'],
])

/** Gives ioctl numbers their names in traces. */
export function nameIoctls(names: Iterable<[number, string]>): void {
  for (const [number, name] of names) ioctlNames.set(number >>> 0, name)
}
