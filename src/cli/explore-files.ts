import { closeSync, openSync, readSync, writeFileSync } from 'node:fs'
import { UserError } from '../isa/user-error.ts'

/** Larger files are no schedule and no result: the longest run in either takes less. */
const LARGEST = 16 * 2 ** 20

/** Text of a file that `where`, an option, names. @throws UserError when it cannot be read, or is too large */
export function readText(path: string, where: string): string {
  const buffer = Buffer.alloc(LARGEST + 1)
  const length = attempt('read', path, where, () => {
    const file = openSync(path, 'r')
    try {
      let end = 0
      for (let got = -1; got !== 0 && end < buffer.length; end += got)
        got = readSync(file, buffer, end, buffer.length - end, null)
      return end
    } finally {
      closeSync(file)
    }
  })
  if (length > LARGEST) throw refuse('read', path, where, `it is larger than ${LARGEST >> 20} MiB`)
  return buffer.toString('utf8', 0, length)
}

/** @throws UserError when it cannot be written */
export function writeText(path: string, text: string, where: string): void {
  attempt('write', path, where, () => writeFileSync(path, text))
}

function attempt<T>(what: string, path: string, where: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw refuse(what, path, where, (error as NodeJS.ErrnoException).code ?? String(error))
  }
}

function refuse(what: string, path: string, where: string, because: string): UserError {
  return new UserError({ code: 'file-access', what: `cannot ${what} ${path}`, where, because, fix: 'choose another file' })
}
