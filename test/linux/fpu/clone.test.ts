import { describe, expect, test } from 'vitest'
import { ensureRegistersLoaded } from '../../../src/linux/fpu/door.ts'
import { disownRegisters, noteXfd, takeRegisters } from '../../../src/linux/fpu/register-owner.ts'
import { handleXfdFault } from '../../../src/linux/fpu/xfd-fault.ts'
import { pinnedProcessor } from '../../../src/linux/processor.ts'
import { COUNT_XFD } from '../../../src/machine/counters.ts'
import { TILECFG, TILEDATA, U_CET, VECTOR } from '../../../src/machine/memory-map.ts'
import { bootHost, CallingProcess } from '../host.ts'

const REQ_PERM = 0x1023

function amxProcess(permission: boolean) {
  const kernel = bootHost()
  const process = new CallingProcess(kernel)
  if (permission) process.call(158, REQ_PERM, 18)
  const cpu = pinnedProcessor(kernel.cpus[0])
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

test('a context switch saves and restores tiles and XFD, and a return to the same processor restores nothing [PERM-40, PERM-41, PERM-44]', () => {
  const { kernel, process, cpu } = amxProcess(true)
  cpu.processor.writeXfdErr(0x40000)
  handleXfdFault(cpu, process.task)
  const { mem } = kernel.machine
  const tile = cpu.processor.registerFile + TILEDATA
  mem.u8[cpu.processor.registerFile + TILECFG] = 1
  mem.u8[tile + 100] = 0x77
  kernel.scheduler.leave(kernel.cpus[0], process.task)
  // Idle released the tiles.
  expect(mem.u8[tile + 100]).toBe(0)
  expect(kernel.cpus[0].fpuOwner).toBeNull()
  kernel.scheduler.switchTo(kernel.cpus[0], process.task)
  expect(process.task.fpu.needLoad).toBe(true)
  ensureRegistersLoaded(cpu)
  expect(mem.u8[tile + 100]).toBe(0x77)
  expect(cpu.processor.xfd).toBe(0)
})

test('#NM for components that are not dynamic is logged once and retried [PERM-36]', () => {
  const { kernel, process, cpu } = amxProcess(true)
  const logged = () => kernel.log.lines.filter((line) => line.includes('Invalid xfd error: 20000')).length
  for (let i = 0; i < 2; i++) {
    cpu.processor.writeXfdErr(0x20000)
    expect(handleXfdFault(cpu, process.task)).toBe('retry')
    expect(cpu.processor.readXfdErr()).toBe(0)
  }
  expect(logged()).toBe(1)
  expect(process.task.fpu.fpstate.size).toBe(2560)
})

test('permitted, but without memory: no larger buffer, nothing changes [PERM-37]', () => {
  const { kernel, process, cpu } = amxProcess(true)
  while (kernel.heap.allocate(4096) !== 0);
  cpu.processor.writeXfdErr(0x40000)
  expect(handleXfdFault(cpu, process.task)).toBe('no memory')
  expect(process.task.fpu.fpstate).toMatchObject({ size: 2560, xfeatures: 0x20ee7, xfd: 0x40000 })
})

test('growing keeps what is in the registers, and frees a buffer only if it came from the heap [PERM-38]', () => {
  const { kernel, process, cpu } = amxProcess(true)
  const { mem } = kernel.machine
  mem.u8[cpu.processor.registerFile + VECTOR] = 0x66
  cpu.processor.writeXfdErr(0x40000)
  handleXfdFault(cpu, process.task)
  const used = kernel.heap.bytesInUse
  expect(process.task.fpu.fpstate.xcompBv).toBe(0x60ee7)
  kernel.scheduler.leave(cpu, process.task)
  expect(mem.u8[process.task.fpu.fpstate.image + 160]).toBe(0x66)
  // A second growth replaces a buffer of the heap: nothing is left behind.
  kernel.scheduler.switchTo(cpu, process.task)
  cpu.processor.writeXfdErr(0x40000)
  handleXfdFault(cpu, process.task)
  expect(kernel.heap.bytesInUse).toBe(used)
})

describe('IA32_XFD is written', () => {
  test("only where the processor's last value is not the buffer's [PERM-33]", () => {
    const { kernel, process, cpu } = amxProcess(true)
    const other = new CallingProcess(kernel, 1)
    const writes = () => kernel.machine.counters.msrWritesOf[COUNT_XFD]
    kernel.scheduler.leave(kernel.cpus[1], other.task)
    const before = writes()
    // Both buffers have the same XFD.
    kernel.scheduler.leave(cpu, process.task)
    kernel.scheduler.switchTo(cpu, other.task)
    ensureRegistersLoaded(cpu)
    expect([cpu.xfdShadow, writes() - before]).toEqual([0x40000, 0])
    kernel.scheduler.leave(cpu, other.task)
    kernel.scheduler.switchTo(cpu, process.task)
    ensureRegistersLoaded(cpu)
    cpu.processor.writeXfdErr(0x40000)
    handleXfdFault(cpu, process.task)
    expect([cpu.xfdShadow, writes() - before]).toEqual([0, 1])
    // Now they differ: a write each time the other is loaded.
    kernel.scheduler.leave(cpu, process.task)
    kernel.scheduler.switchTo(cpu, other.task)
    ensureRegistersLoaded(cpu)
    expect([cpu.xfdShadow, cpu.processor.xfd, writes() - before]).toEqual([0x40000, 0x40000, 2])
  })

  test('before registers are loaded from the buffer, and not by a switch that finds them still loaded [PERM-34]', () => {
    const { kernel, process, cpu } = amxProcess(true)
    cpu.processor.writeXfdErr(0x40000)
    handleXfdFault(cpu, process.task)
    const { counters } = kernel.machine
    const writes = counters.msrWritesOf[COUNT_XFD]
    kernel.scheduler.leave(cpu, process.task)
    kernel.scheduler.switchTo(cpu, process.task)
    ensureRegistersLoaded(cpu)
    expect(counters.msrWritesOf[COUNT_XFD]).toBe(writes)
    // Somebody else's value stands in the way: the load comes after the write, or it would raise #NM.
    kernel.machine.mem.u8[cpu.processor.registerFile + TILECFG] = 1
    kernel.machine.mem.u8[cpu.processor.registerFile + TILEDATA] = 0x77
    kernel.scheduler.leave(cpu, process.task)
    cpu.processor.wrmsrXfd(0x40000)
    noteXfd(cpu, 0x40000)
    kernel.scheduler.switchTo(cpu, process.task)
    disownRegisters(cpu)
    ensureRegistersLoaded(cpu)
    expect(cpu.processor.xfd).toBe(0)
    expect(kernel.machine.mem.u8[cpu.processor.registerFile + TILEDATA]).toBe(0x77)
  })
})

test('registers are valid only for the owner on its last processor [PERM-40]', () => {
  const { kernel, process, cpu } = amxProcess(false)
  const { mem } = kernel.machine
  mem.u8[cpu.processor.registerFile + VECTOR] = 0x66
  kernel.scheduler.leave(cpu, process.task)
  const second = pinnedProcessor(kernel.cpus[1])
  kernel.scheduler.switchTo(second, process.task)
  ensureRegistersLoaded(second)
  mem.u8[second.processor.registerFile + VECTOR] = 0x67
  kernel.scheduler.leave(second, process.task)
  // The first processor still names it as owner, with old registers.
  expect(cpu.fpuOwner).toBe(process.task.fpu)
  kernel.scheduler.switchTo(cpu, process.task)
  ensureRegistersLoaded(cpu)
  expect(mem.u8[cpu.processor.registerFile + VECTOR]).toBe(0x67)
})

test('a thread without tiles comes after one with them: they are initial, for the mask is never narrowed [PERM-41]', () => {
  const { kernel, process, cpu } = amxProcess(true)
  cpu.processor.writeXfdErr(0x40000)
  handleXfdFault(cpu, process.task)
  const { mem } = kernel.machine
  const other = new CallingProcess(kernel, 1)
  kernel.scheduler.leave(kernel.cpus[1], other.task)
  kernel.scheduler.leave(cpu, process.task)
  kernel.scheduler.switchTo(cpu, other.task)
  // Left over in the registers, as a processor that did not go idle in between would have them.
  mem.u8[cpu.processor.registerFile + TILECFG] = 1
  mem.u8[cpu.processor.registerFile + TILEDATA] = 0x77
  takeRegisters(process.task.fpu, cpu)
  ensureRegistersLoaded(cpu)
  expect(mem.u8[cpu.processor.registerFile + TILEDATA]).toBe(0)
  expect(mem.u8[cpu.processor.registerFile + TILECFG]).toBe(0)
})

test('PKRU is saved with the rest and restored by the switch alone [PERM-42]', () => {
  const { kernel, process, cpu } = amxProcess(false)
  const { fpstate } = process.task.fpu
  cpu.processor.setPkru(0x55555550)
  kernel.scheduler.leave(cpu, process.task)
  expect(fpstate.xstateBv & 0x200).toBe(0x200)
  const { mem } = kernel.machine
  // PKRU lies at 2432 in the compacted image of default features.
  expect(mem.i32[(fpstate.image + 2432) >> 2]).toBe(0x55555550)
  mem.i32[(fpstate.image + 2432) >> 2] = 0x1234
  cpu.processor.setPkru(0)
  kernel.scheduler.switchTo(cpu, process.task)
  expect(cpu.processor.pkru).toBe(0x55555550)
  disownRegisters(cpu)
  ensureRegistersLoaded(cpu)
  expect(cpu.processor.pkru).toBe(0x55555550)
})

test("a child's PASID is initial and its supervisor state its parent's [PERM-43]", () => {
  const { kernel, process, cpu } = amxProcess(false)
  const { mem } = kernel.machine
  mem.i32[(cpu.processor.registerFile + U_CET) >> 2] = 1
  kernel.scheduler.leave(cpu, process.task)
  // ENQCMD is not executed here: PASID can only have come from the buffer.
  const { fpstate } = process.task.fpu
  mem.i32[(fpstate.image + 2440) >> 2] = 0x80000001 | 0
  fpstate.xstateBv |= 0x400
  kernel.scheduler.switchTo(cpu, process.task)
  disownRegisters(cpu)
  const child = kernel.tasks.get(process.call(57))!
  expect(child.fpu.fpstate.xstateBv & 0xc00).toBe(0x800)
})

test('a processor without tiles in use goes idle with its owner kept [PERM-44]', () => {
  const { kernel, process, cpu } = amxProcess(true)
  kernel.scheduler.leave(cpu, process.task)
  expect(cpu.fpuOwner).toBe(process.task.fpu)
})
