import { describe, expect, test, vi } from 'vitest'
import { loadKvm } from '../../../src/kvm/module.ts'
import { GuestSplitLock } from '../../../src/kvm/vcpu/split-lock.ts'
import type { Kernel } from '../../../src/linux/kernel.ts'
import type { Machine } from '../../../src/machine/machine.ts'
import type { TestHostOptions } from '../../linux/host.ts'
import { runProgram, values } from '../../linux/programs.ts'

/** VMMs that are programs: test/fixtures/linux-programs/splitguests.c. */
function run(scenario: string, options: TestHostOptions = {}, onLine: (line: string) => void = () => {}) {
  const prepare = (kernel: Kernel) => {
    loadKvm(kernel, kernel.machine as Machine)
    kernel.log.onLine = onLine
  }
  const result = runProgram('splitguests', { args: [scenario], ...options, prepare })
  return { ...result, values: values(result.output) }
}
const trapLines = (kernel: Kernel): string[] => kernel.log.lines.filter((line) => line.includes('took a split_lock trap'))

describe("SIGBUS for a guest's split lock in fatal mode", () => {
  const splitLockDetect = 'fatal'

  test('a handler runs before the result of KVM_RUN is seen, with 0 saved for it; then the exit is there; each KVM_RUN the same [SLD-34, SLD-33, SLD-35]', () => {
    const { status, values: v } = run('h', { splitLockDetect })
    expect(status).toBe(0)
    expect(v).toMatchObject({ handled: 2, handledBeforeResult: 1, savedRax: 0, result: 0 })
    // KVM_EXIT_EXCEPTION with #AC(0), RIP still at the lock.
    expect(v).toMatchObject({ exit: 1, exception: 17, errorCode: 0, rip: 0 })
    expect(v).toMatchObject({ signal: 7, code: 1, address: 0, trapno: 17, err: 0 })
  })
  test.each([
    ['blocked', 'b'],
    ['ignored', 'i'],
  ])('%s, it kills the VMM all the same [SLD-34]', (_what, scenario) => {
    expect(run(scenario, { splitLockDetect }).status).toBe(7)
  })
})

describe('two threads of a VMM under proposal v8', () => {
  const profile = 'proposal:sld-virt-v8'

  test("KVM_SET_MSRS of a thread waits until another's KVM_RUN has ended, and never meets a loaded guest [SLD-61, SLD-60]", () => {
    const loaded: boolean[] = []
    const propagate = vi.spyOn(GuestSplitLock.prototype, 'propagate').mockImplementation(function (this: GuestSplitLock) {
      loaded.push(this.loaded)
    })
    const { values: v } = run('m', { profile })
    propagate.mockRestore()
    expect(v).toMatchObject({ result: 0, setResult: 1, locks: 1000000, setBeganInRun: 1 })
    // To the microsecond: what was left of KVM_RUN when the ioctl began.
    expect(v.waited).toBeGreaterThanOrEqual(v.untilRunEnded - 5)
    expect(v.waited).toBeGreaterThan(500)
    expect(loaded).toEqual([false])
  })

  test('a task that comes between while a guest runs with detection off traps; the guest does not [SLD-T11, SLD-47, SLD-54, SLD-56]', () => {
    const order: string[] = []
    const { load, put } = GuestSplitLock.prototype
    const spies = [
      vi.spyOn(GuestSplitLock.prototype, 'load').mockImplementation(function (this: GuestSplitLock, cpu) {
        if (!this.loaded) order.push('load')
        load.call(this, cpu)
      }),
      vi.spyOn(GuestSplitLock.prototype, 'put').mockImplementation(function (this: GuestSplitLock, cpu) {
        if (this.loaded) order.push('put')
        put.call(this, cpu)
      }),
    ]
    const { values: v, kernel } = run(
      'p',
      { profile, processors: 1 },
      (line) => void (/split_lock trap/.test(line) && order.push('trap')),
    )
    for (const spy of spies) spy.mockRestore()
    // In the middle of KVM_RUN: put by the scheduler, loaded again afterwards.
    expect(order.slice(order.indexOf('trap') - 2, order.indexOf('trap') + 3)).toEqual(['load', 'put', 'trap', 'load', 'put'])
    expect(v).toMatchObject({ result: 0, childEnded: 1, locks: 1000000 })
    const lines = trapLines(kernel)
    expect(lines).toHaveLength(1)
    expect(lines[0]).toContain(`/${v.child} took`)
  })
})
