import type { Refusal, RefusalDetails } from './refusal.ts'

/** Linux error numbers: include/uapi/asm-generic/errno-base.h, errno.h. A failing call returns the negative number. */
export const errnoTable = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  ENOEXEC: 8,
  EBADF: 9,
  ECHILD: 10,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  ENOTBLK: 15,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  EPIPE: 32,
  EDOM: 33,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  ETIME: 62,
  EOVERFLOW: 75,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  EALREADY: 114,
  EINPROGRESS: 115,
  ECANCELED: 125,
  EOWNERDEAD: 130,
  EHWPOISON: 133,
} as const

export type ErrnoName = keyof typeof errnoTable

export const {
  EPERM,
  ENOENT,
  ESRCH,
  EINTR,
  EIO,
  ENXIO,
  E2BIG,
  ENOEXEC,
  EBADF,
  ECHILD,
  EAGAIN,
  ENOMEM,
  EACCES,
  EFAULT,
  EBUSY,
  EEXIST,
  EXDEV,
  ENODEV,
  ENOTDIR,
  EISDIR,
  EINVAL,
  ENFILE,
  EMFILE,
  ENOTTY,
  ETXTBSY,
  EFBIG,
  ENOSPC,
  ESPIPE,
  EROFS,
  EMLINK,
  EPIPE,
  ERANGE,
  EDEADLK,
  ENAMETOOLONG,
  ENOSYS,
  ENOTEMPTY,
  ELOOP,
  ENODATA,
  ETIME,
  EOVERFLOW,
  EOPNOTSUPP,
  ETIMEDOUT,
  EALREADY,
  ECANCELED,
  EOWNERDEAD,
  EHWPOISON,
} = errnoTable

/**
 * Results that never reach user mode: the signal code turns them into a restart of the call or -EINTR
 * (include/linux/errno.h, LUX-13).
 */
export const ERESTARTSYS = 512
export const ERESTARTNOINTR = 513
export const ERESTARTNOHAND = 514
export const ERESTART_RESTARTBLOCK = 516

const names = new Map<number, string>(Object.entries(errnoTable).map(([name, nr]) => [nr, name]))
names.set(ERESTARTSYS, 'ERESTARTSYS')
names.set(ERESTARTNOINTR, 'ERESTARTNOINTR')
names.set(ERESTARTNOHAND, 'ERESTARTNOHAND')
names.set(ERESTART_RESTARTBLOCK, 'ERESTART_RESTARTBLOCK')

/** `EBUSY` for 16; a number nobody named comes back as digits. */
export function errnoName(nr: number): string {
  return names.get(nr) ?? String(nr)
}

export type { Refusal } from './refusal.ts'

/** What can carry the reason of the refusal it is about to return: a task. */
export interface RefusalSlot {
  refusal: Refusal | null
}

/**
 * Records why on `slot` and returns -errno: `return refuse(task, EBUSY, 'PERM-23', 'a vCPU exists')`. Refusals of extended state say more
 * (`details`): what was asked, which bits, both sides, the gates.
 */
export function refuse(slot: RefusalSlot, errno: number, rule: string, sentence: string, details?: RefusalDetails): number {
  slot.refusal = { outcome: errnoName(errno), errno, rule, asked: null, bits: null, sides: [], chain: [], ...details, sentence }
  return -errno
}
