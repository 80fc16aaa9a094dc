/** Signal numbers of x86 (include/uapi/asm/signal.h) and what they do by default (kernel/signal.c, signal(7)). */
export const SIGHUP = 1
export const SIGINT = 2
export const SIGQUIT = 3
export const SIGILL = 4
export const SIGTRAP = 5
export const SIGABRT = 6
export const SIGBUS = 7
export const SIGFPE = 8
export const SIGKILL = 9
export const SIGUSR1 = 10
export const SIGSEGV = 11
export const SIGUSR2 = 12
export const SIGPIPE = 13
export const SIGALRM = 14
export const SIGTERM = 15
export const SIGSTKFLT = 16
export const SIGCHLD = 17
export const SIGCONT = 18
export const SIGSTOP = 19
export const SIGTSTP = 20
export const SIGTTIN = 21
export const SIGTTOU = 22
export const SIGURG = 23
export const SIGXCPU = 24
export const SIGXFSZ = 25
export const SIGVTALRM = 26
export const SIGPROF = 27
export const SIGWINCH = 28
export const SIGIO = 29
export const SIGPWR = 30
export const SIGSYS = 31
export const SIGRTMIN = 32
export const NSIG = 64

/** Signal names by number; real-time signals are SIGRT_n. */
const signalNames = [
  '',
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGILL',
  'SIGTRAP',
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGKILL',
  'SIGUSR1',
  'SIGSEGV',
  'SIGUSR2',
  'SIGPIPE',
  'SIGALRM',
  'SIGTERM',
  'SIGSTKFLT',
  'SIGCHLD',
  'SIGCONT',
  'SIGSTOP',
  'SIGTSTP',
  'SIGTTIN',
  'SIGTTOU',
  'SIGURG',
  'SIGXCPU',
  'SIGXFSZ',
  'SIGVTALRM',
  'SIGPROF',
  'SIGWINCH',
  'SIGIO',
  'SIGPWR',
  'SIGSYS',
]

export function signalName(signal: number): string {
  return signalNames[signal] || (signal >= SIGRTMIN ? `SIGRT_${signal - SIGRTMIN}` : `SIG${signal}`)
}

export type DefaultAction = 'terminate' | 'core' | 'ignore' | 'stop' | 'continue'

const CORE = [SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS]
const IGNORE = [SIGCHLD, SIGURG, SIGWINCH]
const STOP = [SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU]

export function defaultAction(signal: number): DefaultAction {
  if (CORE.includes(signal)) return 'core'
  if (IGNORE.includes(signal)) return 'ignore'
  if (STOP.includes(signal)) return 'stop'
  return signal === SIGCONT ? 'continue' : 'terminate'
}

/** Faults of the instruction itself: taken before other pending signals (kernel/signal.c SYNCHRONOUS_MASK). */
export function isSynchronous(signal: number): boolean {
  return (
    signal === SIGSEGV || signal === SIGBUS || signal === SIGILL || signal === SIGTRAP || signal === SIGFPE || signal === SIGSYS
  )
}

// si_code, include/uapi/asm-generic/siginfo.h
export const SI_USER = 0
export const SI_KERNEL = 0x80
export const SI_QUEUE = -1
export const SI_TIMER = -2
export const SI_TKILL = -6
export const ILL_ILLOPC = 1
export const ILL_ILLOPN = 2
export const FPE_INTDIV = 1
export const FPE_INTOVF = 2
export const FPE_FLTDIV = 3
export const FPE_FLTOVF = 4
export const FPE_FLTUND = 5
export const FPE_FLTRES = 6
export const FPE_FLTINV = 7
export const SEGV_MAPERR = 1
export const SEGV_ACCERR = 2
export const SEGV_BNDERR = 3
export const SEGV_PKUERR = 4
export const SEGV_CPERR = 10
export const BUS_ADRALN = 1
export const BUS_ADRERR = 2
export const TRAP_BRKPT = 1
export const TRAP_TRACE = 2
export const TRAP_HWBKPT = 4
export const CLD_EXITED = 1
export const CLD_KILLED = 2
export const CLD_DUMPED = 3
export const CLD_TRAPPED = 4
export const CLD_STOPPED = 5
export const CLD_CONTINUED = 6

/** What travels with a signal (siginfo_t); which fields count depends on signal and code. */
export interface SignalInfo {
  readonly signal: number
  readonly code: number
  readonly errno?: number
  /** Sender, for SI_USER, SI_TKILL, SI_QUEUE and SIGCHLD. */
  readonly pid?: number
  readonly uid?: number
  /** SIGCHLD: exit code or signal. */
  readonly status?: number
  readonly utime?: number
  readonly stime?: number
  /** Faults: si_addr, and the protection key for SEGV_PKUERR. */
  readonly address?: number
  readonly pkey?: number
  /** SI_QUEUE, SI_TIMER: sigval as two halves. */
  readonly valueLo?: number
  readonly valueHi?: number
  readonly timerId?: number
  readonly overrun?: number
  /** 112 bytes of the union as the sender wrote them (rt_sigqueueinfo, PTRACE_SETSIGINFO). */
  readonly raw?: Uint8Array
}
