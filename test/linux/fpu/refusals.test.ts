import { expect, test } from 'vitest'
import { setXstate } from '../../../src/linux/fpu/regset.ts'
import { handleXfdFault } from '../../../src/linux/fpu/xfd-fault.ts'
import { pinnedProcessor } from '../../../src/linux/processor.ts'
import type { Refusal } from '../../../src/linux/refusal.ts'
import { bootHost, CallingProcess } from '../host.ts'

/** Reasons of refusals as the kernel's own code leaves them on the task; those that a VMM sees are in test/vmm/refusals.test.ts. */

const arch_prctl = 158
const sigaltstack = 131
const REQ_PERM = 0x1023

const chainOf = (reason: Refusal | null): string[] => reason!.chain.map(({ gate, verdict }) => `${gate}:${verdict}`)

function altStack(p: CallingProcess, size: number): number {
  const stack = new Uint8Array(24)
  const view = new DataView(stack.buffer)
  view.setBigUint64(0, BigInt(p.scratch), true)
  view.setBigUint64(16, BigInt(size), true)
  p.write(p.scratch, stack)
  return p.call(sigaltstack, p.scratch, 0)
}

test('a small alternate stack is the last gate of a request: both sizes [PERM-28]', () => {
  const p = new CallingProcess(bootHost())
  altStack(p, 4096)
  p.call(arch_prctl, REQ_PERM, 18)
  const { refusal } = p.task
  expect(refusal).toMatchObject({
    outcome: 'ENOSPC',
    rule: 'PERM-28',
    asked: { kind: 'component', name: 'XTILE_DATA', value: 18n },
  })
  expect(refusal!.sides.slice(-2)).toEqual([
    { name: 'alternate stack, bytes', value: 4096n, names: [] },
    { name: 'signal frame, bytes', value: 11952n, names: [] },
  ])
  expect(chainOf(refusal)).toEqual([
    'CPUID bit:passed',
    'CPUID bit:passed',
    'XCR0:passed',
    'permission:passed',
    'sigaltstack:refused',
  ])
})

test('sigaltstack after the grant: the permission that made frames larger, and both sizes [PERM-29]', () => {
  const p = new CallingProcess(bootHost())
  p.call(arch_prctl, REQ_PERM, 18)
  altStack(p, 11836)
  expect(p.task.refusal).toMatchObject({ outcome: 'ENOMEM', rule: 'PERM-29', asked: { kind: 'stack', value: 11836n } })
  expect(p.task.refusal!.sides.map(({ value }) => value)).toEqual([11836n, 11836n])
  expect(chainOf(p.task.refusal)).toEqual(['permission:passed', 'sigaltstack:refused'])
})

test('a result pointer that cannot be written says so [PERM-16]', () => {
  const p = new CallingProcess(bootHost())
  p.call(arch_prctl, 0x1022, 0x10)
  expect(p.task.refusal).toMatchObject({ outcome: 'EFAULT', rule: 'PERM-16' })
})

test('an image of a tracer with a component that the task has no room for [PERM-56]', () => {
  const kernel = bootHost()
  const tracer = new CallingProcess(kernel)
  const target = new CallingProcess(kernel, 1)
  const image = new Uint8Array(11008)
  new DataView(image.buffer).setBigUint64(512, 0x40003n, true)
  expect(setXstate(tracer.task, target.task, image)).toBe(-22)
  const { refusal } = tracer.task
  expect(refusal).toMatchObject({ rule: 'PERM-56', bits: { mask: 0x40000n, names: ['XTILE_DATA'] }, asked: { value: 0x40003n } })
  expect(chainOf(refusal)).toEqual(['task FPU image:refused'])
})

test('an armed XFD without permission: the processor traps, permission decides [PERM-37]', () => {
  const p = new CallingProcess(bootHost())
  const cpu = pinnedProcessor(p.kernel.cpus[0])
  cpu.processor.writeXfdErr(0x40000)
  handleXfdFault(cpu, p.task)
  expect(p.task.fault).toMatchObject({ outcome: 'SIGILL', errno: 0, rule: 'PERM-37', bits: { names: ['XTILE_DATA'] } })
  // The kernel's own record has supervisor components beside the user's (PERM-14).
  expect(p.task.fault!.sides).toMatchObject([
    { name: 'permission of the process', value: 0x20ee7n },
    { name: 'IA32_XFD', value: 0x40000n },
  ])
  expect(chainOf(p.task.fault)).toEqual([
    'CPUID bit:passed',
    'CPUID bit:passed',
    'XCR0:passed',
    'XFD:trapped',
    'permission:refused',
  ])
})
