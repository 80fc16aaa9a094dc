import type { Refusal } from '../linux/refusal.ts'

/**
 * Why KVM_RUN came back with EINTR: the instructions that `run` allowed are used up; the vCPU sleeps and nothing will ever
 * wake it; or what interrupts any process: a signal, or kvm_run.immediate_exit.
 */
export type Interruption = 'limit' | 'idle' | 'signal'

/** A signal that a process got: as its handler would see it. */
export interface ProcessSignal {
  readonly signal: number
  /** si_code */
  readonly code: number
  /** si_addr of a fault, 0 for other signals. */
  readonly address: number
}

/**
 * A process that uses KVM, as the typed client sees it: somebody who makes system calls of x86-64 Linux and whose memory we can
 * reach. The modelled host is one backend (`modelled/`); the process this program runs in, with a real /dev/kvm, can be another.
 *
 * Results are what the system call returns: a value, or -errno. Addresses are numbers (user addresses are below 2^47).
 */
export interface ProcessBackend {
  /** What answers, for messages: `modelled SapphireRapids, linux-6.12`. */
  readonly description: string

  /** Arguments may be negative: they are passed as 64-bit two's complement. */
  syscall(nr: number, a0?: number, a1?: number, a2?: number, a3?: number, a4?: number, a5?: number): number

  /** Copies bytes out of (into) the process's memory. False = EFAULT; then nothing useful was copied. */
  read(address: number, into: Uint8Array): boolean
  write(address: number, from: Uint8Array): boolean

  /**
   * The page at `address` of a shared mapping (kvm_run), as the live bytes: what the kernel writes later shows here. Null when
   * nothing is mapped there. Valid until the mapping is removed.
   */
  page(address: number): DataView | null

  /**
   * ioctl(fd, KVM_RUN, 0). A backend that can count instructions makes the call return EINTR once `maxInstructions` of the guest
   * have retired; another one ignores the number.
   */
  run(fd: number, maxInstructions: number): number
  /** Why the last `run` returned EINTR. */
  readonly interruption: Interruption
  /** Instructions retired during the last `run`; 0 where they are not counted. */
  readonly retired: number

  /** Reason of the last call that was refused, or of the MSR at which it stopped; null when unknown. */
  readonly refusal: Refusal | null

  /**
   * clone(flags): the new process or thread, whose user mode is this client's too; or -errno. A backend whose processes run code
   * of their own has none.
   */
  clone?(flags: number): ProcessBackend | number

  /** Signals that reached the process since it was last asked, oldest first. Its handlers return at once and do nothing. */
  takeSignals(): readonly ProcessSignal[]

  /** Ends the process: files are closed, memory is freed. */
  exit(): void
}
