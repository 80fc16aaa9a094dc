import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { command } from '../conformance/command.ts'
import type { Driver } from './recordings.ts'

/** As the recordings' own binaries were built: the head of each source file says it. */
const FLAGS: Record<Driver, readonly string[]> = {
  oracle: ['-O2', '-static', '-pthread'],
  cetvec: [
    '-O1',
    '-static',
    '-fcf-protection=none',
    '-fno-stack-protector',
    '-fno-omit-frame-pointer',
    '-mno-red-zone',
    '-mshstk',
  ],
}

/**
 * Path of a driver program, built with gcc unless it was built from the same source before.
 *
 * @throws CannotPrepare where there is no gcc or no static C library
 */
export function driverProgram(driver: Driver): string {
  const cache = resolve(process.env.WORLDSWITCH_CACHE ?? '.cache/oracle')
  const source = `scripts/oracle/${driver}.c`
  const digest = createHash('sha256').update(readFileSync(source)).update(FLAGS[driver].join(' ')).digest('hex').slice(0, 12)
  const folder = join(cache, digest)
  const program = join(folder, driver)
  if (!existsSync(program)) {
    mkdirSync(folder, { recursive: true })
    command('gcc', [...FLAGS[driver], source, '-o', program])
  }
  return program
}
