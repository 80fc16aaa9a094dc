import { SyscallError } from '../../../src/vmm/errors.ts'

/** One call as the driver program prints it: a `call` with its result, or a `note`. */
export type Call = Record<string, unknown>

export const hex = (value: number | bigint): string => `0x${value.toString(16)}`
/** A 32-bit register. */
export const hex8 = (value: number): string => `0x${value.toString(16).padStart(8, '0')}`

/** What C library and driver make of a system call: its result, or -1 and errno. */
export interface Answer {
  readonly ret: number
  readonly errno?: number
}

/** Makes a call of the typed API. */
export function answerOf(make: () => unknown): Answer {
  try {
    const ret = make()
    return { ret: typeof ret === 'number' ? ret : 0 }
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error
    return { ret: -1, errno: error.errnoNumber }
  }
}

/** The calls of one scenario, in order. */
export class Calls {
  readonly made: Call[] = []

  note(text: string): void {
    this.made.push({ note: text })
  }
  /** A line that is neither. */
  add(line: Call): void {
    this.made.push(line)
  }
  /**
   * Makes a call and notes its answer, in the driver's form. `args`: null where the driver prints none. `more`: further members, from what was read afterwards.
   * Returns the result.
   */
  call(name: string, args: readonly unknown[] | null, make: () => unknown, more?: (answer: Answer) => Call): number {
    const answer = answerOf(make)
    this.made.push({ call: name, ...(args === null ? {} : { args }), ...answer, ...more?.(answer) })
    return answer.ret
  }
}

/** FNV-1a, 64 bits, of the first `size` bytes, in hexadecimal. */
export function fnv(bytes: Uint8Array, size: number): string {
  let lo = 0x84222325
  let hi = 0xcbf29ce4
  for (let i = 0; i < size; i++) {
    lo = (lo ^ bytes[i]) >>> 0
    // Times 2^40 + 0x1b3.
    const product = lo * 0x1b3
    hi = (Math.imul(hi, 0x1b3) + Math.floor(product / 4294967296) + (lo << 8)) >>> 0
    lo = product >>> 0
  }
  return hi.toString(16).padStart(8, '0') + lo.toString(16).padStart(8, '0')
}

const MOST_RUNS = 40

/** 8-byte words that are not 0, with how often each stands there in a row: `[offset, bytes, repeated]`. */
export function sparse(bytes: Uint8Array, size: number): { nonzero: unknown[]; nonzero_more?: number } {
  const word = (at: number) => [...bytes.subarray(at, at + 8)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  const isZero = (at: number) => bytes.subarray(at, at + 8).every((byte) => byte === 0)
  const runs: unknown[] = []
  for (let at = 0; at + 8 <= size; ) {
    if (isZero(at)) {
      at += 8
      continue
    }
    const text = word(at)
    let end = at + 8
    while (end + 8 <= size && word(end) === text) end += 8
    runs.push([at, text, (end - at) / 8])
    at = end
  }
  const more = runs.length - MOST_RUNS
  return { nonzero: runs.slice(0, MOST_RUNS), ...(more > 0 ? { nonzero_more: more } : {}) }
}
