import { expect, test } from 'vitest'
import { SeededRandom } from '../../../src/linux/random.ts'
import { syscallTable } from '../../../src/linux/syscalls/table.ts'
import { REG } from '../../../src/machine/execution-context.ts'
import { bootHost, CallingProcess } from '../host.ts'

/** Calls that end the caller, or sleep for ever by right. */
const NOT_CALLED = new Set(['exit', 'exit_group', 'rt_sigreturn', 'execve', 'execveat', 'restart_syscall', 'vfork'])
const ORDER = [REG.RDI, REG.RSI, REG.RDX, 10, 8, 9]

/** Numbers programs get wrong: small, negative, huge, addresses with and without memory, everything set. */
function argument(random: SeededRandom, scratch: number): [number, number] {
  const interesting: [number, number][] = [
    [0, 0],
    [1, 0],
    [-1, -1],
    [-100, -1],
    [random.next() & 0xff, 0],
    [random.next() | 0, 0],
    [random.next() | 0, random.next() | 0],
    [scratch + (random.next() & 0xfff8), Math.floor(scratch / 4294967296)],
    [0x1000, 0],
    [-1, 0x7fff],
    [0, -0x80000000],
    [4096, 0],
  ]
  return interesting[random.next() % interesting.length]
}

test('no call throws, whatever its arguments', () => {
  const random = new SeededRandom(7)
  let kernel = bootHost()
  let process = new CallingProcess(kernel)
  let calls = 0
  for (const [nr, row] of syscallTable.entries()) {
    if (row === undefined || NOT_CALLED.has(row.name)) continue
    for (let round = 0; round < 40; round++) {
      const { task, scratch } = process
      for (const register of ORDER) task.context.set(register, ...argument(random, scratch))
      const before = [nr, ...ORDER.map((register) => task.context.reg(register).toString(16))].join(' ')
      try {
        const result = row.run(task, task.args)
        if (typeof result === 'number') expect(Number.isNaN(result)).toBe(false)
        else {
          for (let step = 0; step < 5 && task.state !== 'dead'; step++) {
            if (result.next().done) break
            task.state = 'runnable'
          }
          result.return(0)
        }
        calls++
      } catch (error) {
        throw new Error(`${row.name}: ${before}`, { cause: error })
      }
      // A call may have taken the ground from under the next ones: its memory, its life.
      if (task.state === 'dead' || !task.mm.isPresent(scratch) || round % 20 === 19) {
        process.leave()
        // Nobody ends these processes: what they hold stays held.
        if (kernel.pages.available < 4000) kernel = bootHost()
        process = new CallingProcess(kernel)
      }
    }
  }
  expect(calls).toBeGreaterThan(2000)
})
