import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { CaseRecord, RECORD_BYTES } from './record-layout.ts'

/** native/recorder.c, built with this machine's compiler. */
export class NativeRecorder {
  private readonly program: string

  /** @param source path of recorder.c */
  constructor(source: string) {
    this.program = join(mkdtempSync(join(tmpdir(), 'differential-')), 'recorder')
    execFileSync('gcc', ['-O1', '-fno-stack-protector', '-o', this.program, source])
  }

  /** State after each case. A case that kills the recorder is an error. */
  run(cases: readonly CaseRecord[]): CaseRecord[] {
    const results: CaseRecord[] = []
    const BATCH = 4000
    for (let from = 0; from < cases.length; from += BATCH) {
      const batch = cases.slice(from, from + BATCH)
      const input = new Uint8Array(batch.length * RECORD_BYTES)
      batch.forEach((one, i) => {
        input.set(one.bytes, i * RECORD_BYTES)
      })
      const { stdout, status, signal } = spawnSync(this.program, { input, maxBuffer: 1 << 28 })
      for (let i = 0; (i + 1) * RECORD_BYTES <= stdout.length; i++)
        results.push(new CaseRecord(new Uint8Array(stdout.subarray(i * RECORD_BYTES, (i + 1) * RECORD_BYTES))))
      if (results.length !== from + batch.length)
        throw new Error(`the recorder ended (${status ?? signal}) in case ${results.length}`)
    }
    return results
  }
}

/** The processor's name and kernel, as Linux tells them. */
export function thisProcessor(): { processor: string; kernel: string } {
  const cpuinfo = readFileSync('/proc/cpuinfo', 'utf8')
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(cpuinfo)?.[1] ?? '?'
  const processor = `${field('vendor_id')} ${field('model name')} family ${field('cpu family')} model ${field('model')} stepping ${field('stepping')}`
  return { processor, kernel: `Linux ${release().replace(/-.*/, '')}` }
}
