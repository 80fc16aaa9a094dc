import { expect, test } from 'vitest'
import { ensureRegistersLoaded } from '../../../src/linux/fpu/door.ts'
import { handleXfdFault } from '../../../src/linux/fpu/xfd-fault.ts'
import type { PinnedProcessor } from '../../../src/linux/processor.ts'
import { TILECFG, TILEDATA } from '../../../src/machine/memory-map.ts'
import { bootHost, CallingProcess } from '../host.ts'

const REQ_PERM = 0x1023

function amxProcess(permission: boolean) {
  const kernel = bootHost()
  const process = new CallingProcess(kernel)
  if (permission) process.call(158, REQ_PERM, 18)
  const cpu = kernel.cpus[0] as PinnedProcessor
  ensureRegistersLoaded(cpu)
  return { kernel, process, cpu }
}

test('#NM without XFD_ERR is no XFD event [PERM-36]', () => {
  const { process, cpu } = amxProcess(true)
  expect(handleXfdFault(cpu, process.task)).toBe('unexpected')
})

test('#NM without permission says so and clears XFD_ERR [PERM-36, PERM-37]', () => {
  const { process, cpu } = amxProcess(false)
  cpu.processor.writeXfdErr(0x40000)
  expect(handleXfdFault(cpu, process.task)).toBe('not permitted')
  expect(cpu.processor.readXfdErr()).toBe(0)
  expect(process.task.fault?.rule).toBe('PERM-37')
})

test('#NM with permission replaces the buffer and clears XFD; only the faulting thread grows [PERM-38]', () => {
  const { kernel, process, cpu } = amxProcess(true)
  const before = kernel.heap.bytesInUse
  cpu.processor.writeXfdErr(0x40000)
  expect(handleXfdFault(cpu, process.task)).toBe('retry')
  const { fpstate } = process.task.fpu
  expect(fpstate.size).toBe(10752)
  expect(fpstate.userSize).toBe(11008)
  expect(fpstate.xfeatures).toBe(0x60ee7)
  expect(fpstate.xfd).toBe(0)
  expect(cpu.processor.xfd).toBe(0)
  // The embedded buffer is kept.
  expect(kernel.heap.bytesInUse - before).toBe(10752 + 64)
})

test('a fork keeps the tile configuration and loses tile data [PERM-43]', () => {
  const { kernel, process, cpu } = amxProcess(true)
  cpu.processor.writeXfdErr(0x40000)
  handleXfdFault(cpu, process.task)
  const { mem } = kernel.machine
  mem.u8[cpu.processor.registerFile + TILECFG] = 1
  mem.u8[cpu.processor.registerFile + TILEDATA] = 0xaa
  const child = kernel.tasks.get(process.call(57))!
  expect(child.fpu.fpstate).toBe(child.fpu.embedded)
  expect(child.fpu.fpstate.xfd).toBe(0x40000)
  expect(child.fpu.fpstate.xstateBv & 0x60000).toBe(0x20000)
  // The parent's own state is as it was.
  expect(mem.u8[cpu.processor.registerFile + TILEDATA]).toBe(0xaa)
})

test('a context switch saves and restores tiles and XFD, and a return to the same processor restores nothing [PERM-40, PERM-41]', () => {
  const { kernel, process, cpu } = amxProcess(true)
  cpu.processor.writeXfdErr(0x40000)
  handleXfdFault(cpu, process.task)
  const { mem } = kernel.machine
  const tile = cpu.processor.registerFile + TILEDATA
  mem.u8[cpu.processor.registerFile + TILECFG] = 1
  mem.u8[tile + 100] = 0x77
  kernel.scheduler.leave(kernel.cpus[0], process.task)
  // Idle releases the tiles [PERM-44].
  expect(mem.u8[tile + 100]).toBe(0)
  expect(kernel.cpus[0].fpuOwner).toBeNull()
  kernel.scheduler.switchTo(kernel.cpus[0], process.task)
  expect(process.task.fpu.needLoad).toBe(true)
  ensureRegistersLoaded(cpu)
  expect(mem.u8[tile + 100]).toBe(0x77)
  expect(cpu.processor.xfd).toBe(0)
})
