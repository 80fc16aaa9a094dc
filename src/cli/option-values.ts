import { InvalidArgumentError } from 'commander'

/** What option texts mean. A text that means nothing is InvalidArgumentError: one line, exit code 2. */

export const collect = (value: string, before: string[]): string[] => [...before, value]

/** A whole number above 0; `_` may group digits. */
export function count(text: string): number {
  const value = /^[\d_]+$/.test(text) ? Number(text.replaceAll('_', '')) : Number.NaN
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('a whole number above 0 is needed.')
  return value
}

/** 1 to `most`. */
export function upTo(most: number): (text: string) => number {
  return (text) => {
    const value = count(text)
    if (value > most) throw new InvalidArgumentError(`1 to ${most} is possible.`)
    return value
  }
}

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }
const LEAST_MEMORY = 16 * 2 ** 20
/** What one WebAssembly.Memory has room for beside the machine's own 32 MiB. */
const MOST_MEMORY = 4064 * 2 ** 20

/** `512M`, `2G`, or bytes. */
export function memorySize(text: string): number {
  const match = /^(\d+)([KMG]?)$/i.exec(text)
  if (match === null) throw new InvalidArgumentError('a size such as 512M or 2G is needed.')
  const bytes = Number(match[1]) * UNITS[match[2].toLowerCase()]
  if (bytes < LEAST_MEMORY || bytes > MOST_MEMORY) throw new InvalidArgumentError('16M to 4064M is possible.')
  return bytes
}

/** Any 32 bits. */
export function seed(text: string): number {
  const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('a whole number is needed.')
  return value | 0
}

export function assignment(text: string, before: string[]): string[] {
  if (text.indexOf('=') < 1) throw new InvalidArgumentError('the form is NAME=VALUE.')
  return [...before, text]
}
