import type { SignalInfo } from './signals.ts'
import { SI_QUEUE, SI_TIMER, SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGSEGV, SIGTRAP } from './signals.ts'

export const SIGINFO_SIZE = 128

/** Writes siginfo_t (include/uapi/asm-generic/siginfo.h) at `at`: 128 bytes. */
export function writeSiginfo(view: DataView, at: number, info: SignalInfo): void {
  for (let i = 0; i < SIGINFO_SIZE; i += 4) view.setUint32(at + i, 0, true)
  view.setInt32(at, info.signal, true)
  view.setInt32(at + 4, info.errno ?? 0, true)
  view.setInt32(at + 8, info.code, true)
  if (info.raw !== undefined) {
    new Uint8Array(view.buffer, view.byteOffset + at + 16, 112).set(info.raw.subarray(0, 112))
    return
  }
  if (hasFaultAddress(info)) {
    putLong(view, at + 16, info.address ?? 0)
    if (info.pkey !== undefined) view.setUint32(at + 32, info.pkey, true)
    return
  }
  if (info.code === SI_TIMER) {
    view.setInt32(at + 16, info.timerId ?? 0, true)
    view.setInt32(at + 20, info.overrun ?? 0, true)
  } else {
    view.setInt32(at + 16, info.pid ?? 0, true)
    view.setInt32(at + 20, info.uid ?? 0, true)
  }
  if (info.signal === SIGCHLD && info.code > 0) {
    view.setInt32(at + 24, info.status ?? 0, true)
    putLong(view, at + 32, info.utime ?? 0)
    putLong(view, at + 40, info.stime ?? 0)
  } else if (info.code === SI_QUEUE || info.code === SI_TIMER) {
    view.setInt32(at + 24, info.valueLo ?? 0, true)
    view.setInt32(at + 28, info.valueHi ?? 0, true)
  }
}

/** Faults carry si_addr; the same signals sent by kill carry the sender. */
function hasFaultAddress(info: SignalInfo): boolean {
  const { signal, code } = info
  const fault = signal === SIGSEGV || signal === SIGBUS || signal === SIGILL || signal === SIGFPE || signal === SIGTRAP
  return fault && code > 0
}

function putLong(view: DataView, at: number, value: number): void {
  view.setInt32(at, value | 0, true)
  view.setInt32(at + 4, Math.floor(value / 4294967296) | 0, true)
}
