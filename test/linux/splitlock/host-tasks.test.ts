import { describe, expect, test } from 'vitest'
import { MSR_IA32_DEBUGCTLMSR, MSR_TEST_CTRL } from '../../../src/isa/msr-index.ts'
import type { Kernel } from '../../../src/linux/kernel.ts'
import { pinnedProcessor } from '../../../src/linux/processor.ts'
import { parseSplitLockOption } from '../../../src/linux/splitlock/mode.ts'
import { bootHost, type TestHostOptions } from '../host.ts'
import { runProgram, values } from '../programs.ts'

const SLD = 1 << 29
const testCtrl = (kernel: Kernel, cpu = 0): number => Number(kernel.cpus[cpu].processor.rdmsr(MSR_TEST_CTRL))
const debugCtl = (kernel: Kernel): number => Number(kernel.cpus[0].processor.rdmsr(MSR_IA32_DEBUGCTLMSR))
const said = (kernel: Kernel, text: string): number => kernel.log.lines.filter((line) => line.includes(text)).length

function run(scenario: string, options: TestHostOptions = {}, prepare?: (kernel: Kernel) => void) {
  const result = runProgram('splitlocks', { args: [scenario], ...options, ...(prepare === undefined ? {} : { prepare }) })
  return { ...result, values: values(result.output), traps: said(result.kernel, 'took a split_lock trap') }
}
const MS = 1000

describe('split_lock_detect= at boot', () => {
  test.each([
    ['off', 'off'],
    ['warn', 'warn'],
    ['fatal', 'fatal'],
    ['ratelimit:1', 'ratelimit'],
    ['ratelimit:1000', 'ratelimit'],
    ['ratelimit:0', 'warn'],
    ['ratelimit:1001', 'warn'],
    ['ratelimit', 'warn'],
    ['FATAL', 'warn'],
    ['', 'warn'],
    [undefined, 'warn'],
  ])('%s is mode %s [SLD-13]', (text, mode) => {
    expect(parseSplitLockOption(text).mode).toBe(mode)
  })

  // Sapphire Rapids has both features; without CPUID.(7,0):ECX[24] only #AC; without CORE_CAPABILITIES only #DB.
  const [both, acOnly, dbOnly] = ['SapphireRapids', 'SapphireRapids,-bus-lock-detect', 'SapphireRapids,-core-capability']
  test.each([
    ['off', both, 0, 0],
    ['warn', both, SLD, 0],
    ['fatal', both, SLD, 0],
    ['ratelimit:10', both, 0, 4],
    ['warn', acOnly, SLD, 0],
    ['ratelimit:10', acOnly, 0, 0],
    ['warn', dbOnly, 0, 4],
    ['fatal', dbOnly, 0, 4],
    ['off', dbOnly, 0, 0],
  ])('%s on %s sets MSR_TEST_CTRL and IA32_DEBUGCTL as the table says [SLD-14]', (splitLockDetect, cpu, sld, bld) => {
    const kernel = bootHost({ splitLockDetect, cpu, physicalBytes: 32 << 20 })
    const detects = kernel.splitLock.hasSplitLockDetect
    expect([detects ? testCtrl(kernel) & SLD : sld, debugCtl(kernel) & 4]).toEqual([sld, bld])
    expect(detects).toBe(cpu !== dbOnly)
  })

  test('a kernel that is itself a guest does not look for it [SLD-09]', () => {
    const kernel = bootHost({ cpu: 'SapphireRapids,+hypervisor', physicalBytes: 32 << 20 })
    expect(kernel.splitLock).toMatchObject({ hasSplitLockDetect: false })
    expect(testCtrl(kernel)).toBe(0)
  })
  test('Ice Lake has it without MSR_IA32_CORE_CAPS [SLD-10]', () => {
    const kernel = bootHost({ cpu: 'Icelake-Server', physicalBytes: 32 << 20 })
    expect([kernel.splitLock.hasSplitLockDetect, testCtrl(kernel)]).toEqual([true, SLD])
  })
  test('with off the feature is there all the same in 6.12, and not in the kernel of the proposals [SLD-11]', () => {
    const has = (profile: string) =>
      bootHost({ profile, splitLockDetect: 'off', physicalBytes: 32 << 20 }).splitLock.hasSplitLockDetect
    expect([has('linux-6.12'), has('proposal:sld-virt-v8')]).toEqual([true, false])
  })
  test('a processor without either feature has mode off, whatever is asked [SLD-13]', () => {
    expect(bootHost({ cpu: 'EPYC-Genoa', splitLockDetect: 'fatal', physicalBytes: 32 << 20 }).splitLock.mode).toBe('off')
  })
})

describe('warn mode', () => {
  test('a split lock sleeps 10 ms, then runs; detection is back on within two jiffies; one line for the task [SLD-T1, SLD-19, SLD-20]', () => {
    const { values: v, traps, kernel } = run('l')
    expect(v.first).toBeGreaterThanOrEqual(10 * MS)
    expect(v.second).toBeLessThan(1 * MS)
    expect(v.third).toBeGreaterThanOrEqual(10 * MS)
    expect([v.value, traps]).toEqual([3, 1])
    kernel.clock.skipTo(kernel.clock.now + 8e6)
    expect([testCtrl(kernel, 0), testCtrl(kernel, 1)]).toEqual([SLD, SLD])
  })
  test('XCHG with memory locks without a prefix [SLD-01]', () => {
    const { values: v, traps } = run('x')
    expect([v.value, traps]).toEqual([7, 1])
    expect(v.first).toBeGreaterThanOrEqual(10 * MS)
  })
  test('misaligned inside a line, or across lines without a lock, is no split lock [SLD-01]', () => {
    const { values: v, traps } = run('w')
    expect([v.value, traps]).toEqual([1, 0])
    expect(v.first).toBeLessThan(1 * MS)
  })
  test('a signal ends the penalty with detection still on: the lock traps again [SLD-T2, SLD-19]', () => {
    const { values: v, traps } = run('s')
    expect([v.handled, v.value, traps]).toEqual([1, 1, 1])
    // 2 ms to the signal, then the whole penalty.
    expect(v.first).toBeGreaterThanOrEqual(12 * MS)
  })
  test('with RFLAGS.AC it cannot be told from an alignment check: SIGBUS [SLD-T4, SLD-17]', () => {
    expect(run('a').values).toMatchObject({ signal: 7, code: 1, address: 0, trapno: 17, err: 0, atLock: 1, value: 0 })
  })
  test('without the penalty (split_lock_mitigate 0) it goes on at once [SLD-15]', () => {
    const { values: v } = run('l', {}, (kernel) => {
      kernel.splitLock.mitigate = false
    })
    expect(v.first).toBeLessThan(1 * MS)
  })
  test('a child has its own line in the log [SLD-19]', () => {
    expect(run('f').traps).toBe(2)
  })
})

describe('fatal mode', () => {
  test('SIGBUS, BUS_ADRALN, address NULL, trapno 17, err 0, RIP at the lock, memory unchanged [SLD-T3, SLD-17, SLD-18]', () => {
    const { values: v, traps } = run('l', { splitLockDetect: 'fatal' })
    expect(v).toMatchObject({ signal: 7, code: 1, address: 0, trapno: 17, err: 0, atLock: 1, value: 0 })
    expect(traps).toBe(0)
  })
  test('an ignored SIGBUS kills all the same [SLD-18]', () => {
    expect(run('i', { splitLockDetect: 'fatal' }).status).toBe(7)
  })
})

describe('mode off', () => {
  test('locks run as on a processor without detection [SLD-03, SLD-14]', () => {
    const { values: v, traps } = run('l', { splitLockDetect: 'off' })
    expect([v.value, traps]).toEqual([3, 0])
    expect(v.first).toBeLessThan(1 * MS)
  })
})

describe('the older design, a thread flag', () => {
  const profile = 'linux-5.17'
  test('the first trap turns detection off for the thread for good; there is no penalty [SLD-22]', () => {
    const { values: v, traps } = run('l', { profile })
    expect([v.value, traps]).toEqual([3, 1])
    expect(Math.max(v.first, v.second, v.third)).toBeLessThan(1 * MS)
  })
  test('a child inherits the flag and is not reported [SLD-28]', () => {
    expect(run('f', { profile }).traps).toBe(1)
  })
  test('detection is on again when the flagged thread is gone from the processor [SLD-27, SLD-29]', () => {
    const { kernel } = run('l', { profile })
    expect(testCtrl(kernel)).toBe(SLD)
  })
})

describe('work that turns detection on again', () => {
  // Two processors, each with a thread that takes one split lock in the same jiffy.
  const bothSplit = (profile: string) => {
    const { kernel } = run('l', { profile }, (booted) => {
      booted.splitLock.mitigate = false
    })
    return kernel
  }
  test('one item for all processors: the second to ask stays without detection; an item each: both come back [SLD-T5, SLD-21]', async () => {
    const { warnSplitLock } = await import('../../../src/linux/splitlock/warn.ts')
    const { CallingProcess } = await import('../host.ts')
    const after = (shared: boolean) => {
      const kernel = bothSplit('linux-6.12')
      const profile = { ...kernel.profile, splitLock: { ...kernel.profile.splitLock, sharedReenableWork: shared } }
      Object.assign(kernel, { profile })
      for (const cpu of [0, 1]) {
        pinnedProcessor(kernel.cpus[cpu]).current = null
        const { task } = new CallingProcess(kernel, cpu)
        expect(warnSplitLock(task, 0x1000).next().done).toBe(true)
      }
      expect([testCtrl(kernel, 0), testCtrl(kernel, 1)]).toEqual([0, 0])
      kernel.clock.skipTo(kernel.clock.now + 20e6)
      return [testCtrl(kernel, 0), testCtrl(kernel, 1)]
    }
    expect(after(true)).toEqual([SLD, 0])
    expect(after(false)).toEqual([SLD, SLD])
  })
})

describe('bus locks, on a processor that has only the debug exception', () => {
  const cpu = 'SapphireRapids,-core-capability'
  test('warn: the lock has been done, a line says so [SLD-T16, SLD-08, SLD-24]', () => {
    const { values: v, kernel } = run('m', { cpu })
    expect(v.value).toBe(6)
    expect(said(kernel, 'took a bus_lock trap')).toBe(6)
  })
  test('fatal: SIGBUS after the instruction, memory is changed [SLD-24]', () => {
    expect(run('l', { cpu, splitLockDetect: 'fatal' }).values).toMatchObject({
      signal: 7,
      code: 1,
      address: 0,
      atLock: 0,
      value: 1,
    })
  })
  test('ratelimit:2 lets two go in a second, the others sleep 20 ms at a time [SLD-24]', () => {
    const { values: v } = run('m', { cpu, splitLockDetect: 'ratelimit:2' })
    expect(v.value).toBe(6)
    expect(v.took).toBeGreaterThanOrEqual(2000 * MS)
    expect(v.took).toBeLessThan(2100 * MS)
  })
  test('off: nothing [SLD-24]', () => {
    const { values: v, kernel } = run('m', { cpu, splitLockDetect: 'off' })
    expect([v.value, said(kernel, 'bus_lock')]).toEqual([6, 0])
  })
  test('with both features ratelimit uses #DB only [SLD-25]', () => {
    const { kernel, traps } = run('m', { splitLockDetect: 'ratelimit:1000' })
    expect([said(kernel, 'took a bus_lock trap'), traps]).toEqual([6, 0])
  })
  test('a single-step trap and a bus lock are one debug exception [SLD-08]', () => {
    const { values: v, kernel } = run('t', { cpu })
    expect([v.value, said(kernel, 'took a bus_lock trap')]).toEqual([1, 1])
  })
})

describe('what programs see', () => {
  test('the sysctl exists where the kernel has it, and the boot parameter is in /proc/cmdline [SLD-15]', () => {
    const kernel = bootHost({ splitLockDetect: 'fatal', physicalBytes: 32 << 20 })
    expect(kernel.commandLine).toBe('console=ttyS0 split_lock_detect=fatal')
    expect(kernel.log.lines.join()).toContain('sending SIGBUS on user-space split_locks')
  })
})
