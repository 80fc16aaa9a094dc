import { describe, expect, test } from 'vitest'
import { PHYSICAL_BASE } from '../../../src/machine/memory-map.ts'
import { bootHost, CallingProcess, E } from '../host.ts'

const mmap = 9
const mprotect = 10
const munmap = 11
const brk = 12
const mremap = 25
const madvise = 28
const memfd_create = 319
const ftruncate = 77
const PRIVATE_ANON = 0x22
const SHARED_ANON = 0x21
const FIXED = 0x10
const FIXED_NOREPLACE = 0x100000
const RW = 3

const fresh = () => new CallingProcess(bootHost())

describe('mmap', () => {
  test('first touch gives zero pages, one at a time [LUX-17]', () => {
    const p = fresh()
    const at = p.call(mmap, 0, 1 << 30, RW, PRIVATE_ANON, -1, 0)
    const before = p.kernel.pages.used
    expect(p.bytes(at + 0x100000, 4)).toEqual(new Uint8Array(4))
    p.write(at + 0x180000, [1])
    expect(p.bytes(at + 0x180000, 2)).toEqual(Uint8Array.of(1, 0))
    expect(p.kernel.pages.used - before).toBeLessThanOrEqual(4)
  })
  test('reserves hundreds of GiB without memory, and gives them back at once', () => {
    const p = fresh()
    const used = p.kernel.pages.used
    const size = 512 * 2 ** 30
    const at = p.call(mmap, 0, size, 0, PRIVATE_ANON | 0x4000, -1, 0)
    expect(at).toBeGreaterThan(0)
    expect(p.kernel.pages.used).toBe(used)
    expect(p.call(munmap, at, size)).toBe(0)
  })
  test.each([
    ['length 0', [0, 0, RW, PRIVATE_ANON, -1, 0], E.EINVAL],
    ['a length beyond the address space', [0, 2 ** 48, RW, PRIVATE_ANON, -1, 0], E.ENOMEM],
    ['an unaligned offset', [0, 4096, RW, PRIVATE_ANON, -1, 12], E.EINVAL],
    ['neither shared nor private', [0, 4096, RW, 0x20, -1, 0], E.EINVAL],
    ['a bad descriptor', [0, 4096, RW, 2, 99, 0], E.EBADF],
    ['MAP_FIXED at 0', [0, 4096, RW, PRIVATE_ANON | FIXED, -1, 0], E.EPERM],
    ['huge pages', [0, 4096, RW, PRIVATE_ANON | 0x40000, -1, 0], E.ENOMEM],
  ])('%s is refused', (_what, args, errno) => {
    expect(fresh().call(mmap, ...args)).toBe(-errno)
  })
  test('MAP_FIXED_NOREPLACE refuses an occupied range, MAP_FIXED replaces it', () => {
    const p = fresh()
    const at = p.call(mmap, 0, 0x3000, RW, PRIVATE_ANON, -1, 0)
    p.write(at + 0x1000, [7])
    expect(p.call(mmap, at + 0x1000, 0x1000, RW, PRIVATE_ANON | FIXED_NOREPLACE, -1, 0)).toBe(-E.EEXIST)
    expect(p.call(mmap, at + 0x1000, 0x1000, RW, PRIVATE_ANON | FIXED, -1, 0)).toBe(at + 0x1000)
    expect(p.bytes(at + 0x1000, 1)[0]).toBe(0)
  })
  test('munmap in the middle leaves both ends', () => {
    const p = fresh()
    const at = p.call(mmap, 0, 0x3000, RW, PRIVATE_ANON, -1, 0)
    p.write(at, [1])
    p.write(at + 0x2000, [3])
    expect(p.call(munmap, at + 0x1000, 0x1000)).toBe(0)
    expect(p.bytes(at, 1)[0]).toBe(1)
    expect(p.bytes(at + 0x2000, 1)[0]).toBe(3)
    expect(p.task.mm.getUser8(at + 0x1000)).toBe(-1)
  })
})

describe('protection', () => {
  test('a read-only page refuses kernel writes for the program (EFAULT) and gets them back', () => {
    const p = fresh()
    const at = p.call(mmap, 0, 0x1000, RW, PRIVATE_ANON, -1, 0)
    p.write(at, [5])
    expect(p.call(mprotect, at, 0x1000, 1)).toBe(0)
    expect(p.task.mm.putUser8(at, 6)).toBe(false)
    expect(p.bytes(at, 1)[0]).toBe(5)
    p.call(mprotect, at, 0x1000, 0)
    expect(p.task.mm.getUser8(at)).toBe(-1)
    p.call(mprotect, at, 0x1000, RW)
    expect(p.bytes(at, 1)[0]).toBe(5)
    p.write(at, [6])
  })
  test('mprotect over a hole changes what lies before it and says ENOMEM', () => {
    const p = fresh()
    const at = p.call(mmap, 0, 0x3000, RW, PRIVATE_ANON, -1, 0)
    p.call(munmap, at + 0x1000, 0x1000)
    expect(p.call(mprotect, at, 0x3000, 1)).toBe(-E.ENOMEM)
    expect(p.task.mm.putUser8(at, 1)).toBe(false)
    expect(p.task.mm.putUser8(at + 0x2000, 1)).toBe(true)
  })
  test('neighbours with equal rights become one mapping again', () => {
    const p = fresh()
    const at = p.call(mmap, 0, 0x10000, RW, PRIVATE_ANON, -1, 0)
    const count = p.task.mm.vmas.all.length
    p.call(mprotect, at + 0x1000, 0x1000, 1)
    expect(p.task.mm.vmas.all.length).toBe(count + 2)
    p.call(mprotect, at + 0x1000, 0x1000, RW)
    expect(p.task.mm.vmas.all.length).toBe(count)
  })
})

test('MADV_DONTNEED returns private memory to zero and tells the notifiers first [LUX-17]', () => {
  const p = fresh()
  const at = p.call(mmap, 0, 0x2000, RW, PRIVATE_ANON, -1, 0)
  p.write(at, [9])
  const seen: number[][] = []
  p.task.mm.addNotifier({
    invalidateRange: (start, end) => void seen.push([start, end, p.task.mm.getUser8(at)]),
    release: () => {},
  })
  expect(p.call(madvise, at, 0x1000, 4)).toBe(0)
  expect(seen).toEqual([[at, at + 0x1000, 9]])
  expect(p.bytes(at, 1)[0]).toBe(0)
})

test('mremap moves pages and content, and grows in place where there is room', () => {
  const p = fresh()
  const at = p.call(mmap, 0, 0x2000, RW, PRIVATE_ANON, -1, 0)
  p.write(at + 0x1000, [4])
  const target = p.call(mmap, 0, 0x8000, 0, PRIVATE_ANON, -1, 0)
  expect(p.call(mremap, at, 0x2000, 0x4000, 3, target)).toBe(target)
  expect(p.bytes(target + 0x1000, 1)[0]).toBe(4)
  expect(p.task.mm.getUser8(at)).toBe(-1)
  expect(p.bytes(target + 0x3000, 1)[0]).toBe(0)
  expect(p.call(mremap, 0x123000, 0x1000, 0x2000, 1)).toBe(-E.EFAULT)
})

test('brk grows and shrinks the heap, and refuses to run into a mapping', () => {
  const p = fresh()
  p.task.mm.brkStart = p.task.mm.brk = 0x500000
  expect(p.call(brk, 0)).toBe(0x500000)
  expect(p.call(brk, 0x502800)).toBe(0x502800)
  p.write(0x502000, [1])
  expect(p.call(brk, 0x501000)).toBe(0x501000)
  expect(p.task.mm.getUser8(0x502000)).toBe(-1)
  p.call(mmap, 0x600000, 0x1000, RW, PRIVATE_ANON | FIXED, -1, 0)
  expect(p.call(brk, 0x700000)).toBe(0x501000)
})

describe('sharing', () => {
  test('fork copies private memory lazily and shares shared memory [LUX-19]', () => {
    const p = fresh()
    const shared = p.call(mmap, 0, 0x1000, RW, SHARED_ANON, -1, 0)
    const own = p.call(mmap, 0, 0x1000, RW, PRIVATE_ANON, -1, 0)
    p.write(shared, [1])
    p.write(own, [1])
    const used = p.kernel.pages.used
    const child = p.kernel.tasks.get(p.call(57))!
    expect(p.kernel.pages.used - used).toBeLessThan(20) // page tables and extended state, no copies
    p.write(shared, [2])
    p.write(own, [2])
    expect(child.mm.getUser8(shared)).toBe(2)
    expect(child.mm.getUser8(own)).toBe(1)
    child.mm.putUser8(own, 3)
    expect(p.bytes(own, 1)[0]).toBe(2)
  })
  test('a memfd mapped twice is one memory; a hole punched in it reads as zero', () => {
    const p = fresh()
    const fd = p.call(memfd_create, p.text('m'), 0)
    expect(p.call(ftruncate, fd, 0x2000)).toBe(0)
    const a = p.call(mmap, 0, 0x2000, RW, 1, fd, 0)
    const b = p.call(mmap, 0, 0x1000, RW, 1, fd, 0x1000)
    p.write(a + 0x1000, [8])
    expect(p.bytes(b, 1)[0]).toBe(8)
    expect(p.call(285, fd, 3, 0x1000, 0x1000)).toBe(0)
    expect(p.bytes(b, 1)[0]).toBe(0)
  })
  test('beyond the end of a file mapping: SIGBUS BUS_ADRERR [LUX-18]', () => {
    const p = fresh()
    const fd = p.call(memfd_create, p.text('m'), 0)
    p.call(ftruncate, fd, 0x800)
    const at = p.call(mmap, 0, 0x2000, RW, 1, fd, 0)
    expect(p.task.mm.fault(at, false, false)).toBe(0)
    expect(p.task.mm.fault(at + 0x1000, false, false)).toBe((7 << 8) | 2)
  })
  test('a private mapping of a file keeps its own copy of what it writes', () => {
    const p = fresh()
    const fd = p.call(memfd_create, p.text('m'), 0)
    p.call(ftruncate, fd, 0x1000)
    const shared = p.call(mmap, 0, 0x1000, RW, 1, fd, 0)
    const own = p.call(mmap, 0, 0x1000, RW, 2, fd, 0)
    p.write(shared, [1])
    expect(p.bytes(own, 1)[0]).toBe(1)
    p.write(own, [2])
    expect(p.bytes(shared, 1)[0]).toBe(1)
  })
})

describe('faults [LUX-18]', () => {
  test('outside every mapping: SEGV_MAPERR; against the rights: SEGV_ACCERR', () => {
    const p = fresh()
    const at = p.call(mmap, 0, 0x1000, 1, PRIVATE_ANON, -1, 0)
    expect(p.task.mm.fault(0x1000, false, false)).toBe((11 << 8) | 1)
    expect(p.task.mm.fault(at, true, false)).toBe((11 << 8) | 2)
    expect(p.task.mm.fault(at, false, true)).toBe((11 << 8) | 2)
  })
  test('memory that is used up ends in the out-of-memory killer, not in an exception', () => {
    const p = new CallingProcess(bootHost({ physicalBytes: 4 << 20 }))
    const at = p.call(mmap, 0, 64 << 20, RW, PRIVATE_ANON, -1, 0)
    let outcome = 0
    for (let i = 0; i < 16384 && outcome === 0; i++) outcome = p.task.mm.fault(at + i * 4096, true, false)
    expect(outcome).toBe(9 << 8)
  })
})

describe('getUserPage', () => {
  test('gives the page and whether it may be written; read access to fresh memory is not writable', () => {
    const p = fresh()
    const at = p.call(mmap, 0, 0x1000, RW, PRIVATE_ANON, -1, 0)
    expect(p.task.mm.getUserPage(at, false) & 1).toBe(0)
    const page = p.task.mm.getUserPage(at + 12, true)
    expect(page & 0xfff).toBe(1)
    p.write(at, [0x5a])
    expect(p.kernel.machine.mem.u8[PHYSICAL_BASE + page - 1]).toBe(0x5a)
    expect(p.task.mm.getUserPage(0x10, false)).toBe(-E.EFAULT)
  })
})
