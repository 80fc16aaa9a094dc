import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { exec, type Ran } from './command.ts'

const PAGES = 3000
/** A module of compiled code has at least one mapping; the command alone has a few hundred. */
const FEW = 1200

/** Runs a program that makes and discards code; the most mappings that the command's process had at a time. */
async function mostMappings(args: string[]): Promise<{ ran: Ran; most: number }> {
  let most = 0
  let timer: NodeJS.Timeout | undefined
  const ran = await exec([], 'churn', args, {
    node: ['--expose-gc', '--import', new URL('collect-garbage.mjs', import.meta.url).href],
    watch(child) {
      timer = setInterval(() => {
        most = Math.max(most, mappingsOf(child.pid!))
      }, 50)
    },
  })
  clearInterval(timer)
  return { ran, most }
}

function mappingsOf(pid: number): number {
  try {
    return readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n').length
  } catch {
    // It has ended.
    return 0
  }
}

/** With more live mappings than Linux allows a process (65530) V8 dies and cannot be caught. */
describe.runIf(process.platform === 'linux')(
  'code that is gone is really gone (the mappings of the process are in /proc, so on Linux only)',
  () => {
    test('a page of code after another, mapped, run and unmapped', async () => {
      const { ran, most } = await mostMappings(['fresh', `${PAGES}`])
      expect(ran).toMatchObject({ status: 0, stdout: 'sum a4668de25d1dc99c\n', stderr: '' })
      expect(most).toBeGreaterThan(100)
      expect(most).toBeLessThan(FEW)
    })
    test('one page that is rewritten again and again, and made hot each time', async () => {
      const { ran, most } = await mostMappings(['hot', '1000'])
      expect(ran).toMatchObject({ status: 0, stdout: 'sum 5a9f9373ce479960\n', stderr: '' })
      expect(most).toBeLessThan(FEW)
    })
    test('few pages that are filled in turn', async () => {
      const { ran, most } = await mostMappings(['pages', '100', '30'])
      expect(ran).toMatchObject({ status: 0, stdout: 'sum a4668de25d1dc99c\n', stderr: '' })
      expect(most).toBeLessThan(FEW)
    })
  },
)
