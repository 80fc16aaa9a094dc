/** RLIMIT_* (include/uapi/asm-generic/resource.h). */
export const RLIMIT_CPU = 0
export const RLIMIT_FSIZE = 1
export const RLIMIT_DATA = 2
export const RLIMIT_STACK = 3
export const RLIMIT_CORE = 4
export const RLIMIT_NPROC = 6
export const RLIMIT_NOFILE = 7
export const RLIMIT_MEMLOCK = 8
export const RLIMIT_AS = 9
export const RLIMIT_SIGPENDING = 11
export const RLIMIT_MSGQUEUE = 12
export const RLIMIT_NICE = 13
export const RLIMIT_RTPRIO = 14
export const RLIM_NLIMITS = 16
export const RLIM_INFINITY = Number.POSITIVE_INFINITY

/** Soft and hard limits of a process; Infinity = RLIM_INFINITY. */
export class Limits {
  readonly soft: number[] = new Array(RLIM_NLIMITS).fill(RLIM_INFINITY)
  readonly hard: number[] = new Array(RLIM_NLIMITS).fill(RLIM_INFINITY)
  /** What a program set, to the last bit (a number holds 53): soft and hard, by resource. */
  readonly exact = new Map<number, readonly [bigint, bigint]>()

  copy(): Limits {
    const copy = new Limits()
    for (let i = 0; i < RLIM_NLIMITS; i++) {
      copy.soft[i] = this.soft[i]
      copy.hard[i] = this.hard[i]
    }
    for (const [resource, values] of this.exact) copy.exact.set(resource, values)
    return copy
  }
}

/** What a login session of a systemd distribution has (include/asm-generic/resource.h; NOFILE hard as systemd raises it). */
export function defaultLimits(): Limits {
  const limits = new Limits()
  const set = (nr: number, soft: number, hard: number) => {
    limits.soft[nr] = soft
    limits.hard[nr] = hard
  }
  set(RLIMIT_STACK, 8 << 20, RLIM_INFINITY)
  set(RLIMIT_CORE, 0, RLIM_INFINITY)
  set(RLIMIT_NOFILE, 1024, 1048576)
  set(RLIMIT_NPROC, 31000, 31000)
  set(RLIMIT_MEMLOCK, 8 << 20, 8 << 20)
  set(RLIMIT_SIGPENDING, 31000, 31000)
  set(RLIMIT_MSGQUEUE, 819200, 819200)
  set(RLIMIT_NICE, 0, 0)
  set(RLIMIT_RTPRIO, 0, 0)
  return limits
}
