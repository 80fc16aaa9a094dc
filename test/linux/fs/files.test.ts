import { describe, expect, test } from 'vitest'
import { HostStream } from '../../../src/linux/fs/host-stream.ts'
import { bootHost, CallingProcess, E } from '../host.ts'
import { oneFile } from '../programs.ts'

const read = 0
const write = 1
const close = 3
const lseek = 8
const ioctl = 16
const fcntl = 72
const ftruncate = 77
const mkdir = 83
const link = 86
const unlink = 87
const readlink = 89
const openat = 257
const newfstatat = 262
const eventfd2 = 290
const pipe2 = 293
const AT_FDCWD = -100

const fresh = () => new CallingProcess(bootHost())

function open(p: CallingProcess, path: string, flags = 0, mode = 0o644): number {
  return p.call(openat, AT_FDCWD, p.text(path), flags, mode)
}

/** What one read of 4096 bytes gives. */
function contents(p: CallingProcess, path: string): string {
  const fd = open(p, path)
  if (fd < 0) return `error ${fd}`
  const count = p.call(read, fd, p.scratch, 0x4000)
  const text = String.fromCharCode(...p.bytes(p.scratch, Math.max(0, count)))
  expect(p.call(read, fd, p.scratch, 0x4000)).toBe(0)
  p.call(close, fd)
  return text
}

describe('files of the kernel: one read gives the exact text, the next 0 [LUX-62]', () => {
  test.each([
    ['/sys/devices/system/clocksource/clocksource0/current_clocksource', 'tsc\n'],
    ['/sys/devices/system/cpu/possible', '0-1\n'],
    ['/sys/devices/system/cpu/online', '0-1\n'],
    ['/sys/kernel/mm/transparent_hugepage/hpage_pmd_size', '2097152\n'],
    ['/proc/sys/kernel/ostype', 'Linux\n'],
  ])('%s', (path, text) => {
    expect(contents(fresh(), path)).toBe(text)
  })
  test('sysfs files report 4096 bytes', () => {
    const p = fresh()
    p.call(newfstatat, AT_FDCWD, p.text('/sys/devices/system/cpu/online'), p.scratch, 0)
    expect(p.task.mm.getUserLong(p.scratch + 48)).toBe(4096)
  })
  test('/proc/meminfo has the huge-page lines', () => {
    expect(contents(fresh(), '/proc/meminfo')).toMatch(/HugePages_Total: +0\n(.*\n)*Hugepagesize: +2048 kB/)
  })
  test('/proc/cpuinfo shows the CPU model once a processor', () => {
    const text = contents(fresh(), '/proc/cpuinfo')
    expect(text.match(/^processor/gm)).toHaveLength(2)
    expect(text).toMatch(/^flags\t\t: .*\bamx_tile\b/m)
  })
  test('/proc/self/maps has a line a mapping, /proc/self/schedstat three numbers [LUX-31]', () => {
    const p = fresh()
    const maps = contents(p, '/proc/self/maps')
    expect(maps.trim().split('\n')).toHaveLength(p.task.mm.vmas.all.length)
    expect(contents(p, '/proc/self/schedstat')).toMatch(/^\d+ \d+ \d+\n$/)
  })
  test('module parameters: Y, N, or a number with newline [KAPI-136]', () => {
    const p = fresh()
    p.kernel.registerModuleParameter('kvm', 'tdp_mmu', () => true)
    p.kernel.registerModuleParameter('kvm', 'force_emulation_prefix', () => 0)
    expect(contents(p, '/sys/module/kvm/parameters/tdp_mmu')).toBe('Y\n')
    expect(contents(p, '/sys/module/kvm/parameters/force_emulation_prefix')).toBe('0\n')
  })
  test('what is not there is ENOENT', () => {
    const p = fresh()
    for (const path of ['/dev/kvm', '/dev/sev', '/sys/kernel/mm/page_idle/bitmap', '/etc/shadow'])
      expect(open(p, path)).toBe(-E.ENOENT)
  })
})

describe('tmpfs', () => {
  test('semaphores: O_CREAT|O_EXCL, write, link, unlink in /dev/shm', () => {
    const p = fresh()
    const fd = open(p, '/dev/shm/a', 0o302)
    expect(fd).toBeGreaterThanOrEqual(0)
    expect(open(p, '/dev/shm/a', 0o302)).toBe(-E.EEXIST)
    expect(p.call(write, fd, p.scratch, 32)).toBe(32)
    expect(p.call(link, p.text('/dev/shm/a'), p.text('/dev/shm/b', 0x9000))).toBe(0)
    expect(p.call(unlink, p.text('/dev/shm/a'))).toBe(0)
    expect(open(p, '/dev/shm/a')).toBe(-E.ENOENT)
    p.call(newfstatat, AT_FDCWD, p.text('/dev/shm/b'), p.scratch, 0)
    expect(p.task.mm.getUserLong(p.scratch + 48)).toBe(32)
  })
  test('holes read as zero, SEEK_END and truncation', () => {
    const p = fresh()
    const fd = open(p, '/tmp/f', 0o102)
    p.write(p.scratch, [1, 2, 3])
    expect(p.call(lseek, fd, 10000, 0)).toBe(10000)
    expect(p.call(write, fd, p.scratch, 3)).toBe(3)
    expect(p.call(lseek, fd, 0, 2)).toBe(10003)
    expect(p.call(lseek, fd, 9999, 0)).toBe(9999)
    expect(p.call(read, fd, p.scratch + 100, 100)).toBe(4)
    expect([...p.bytes(p.scratch + 100, 4)]).toEqual([0, 1, 2, 3])
    expect(p.call(ftruncate, fd, 10001)).toBe(0)
    expect(p.call(ftruncate, fd, 10003)).toBe(0)
    p.call(lseek, fd, 10000, 0)
    p.call(read, fd, p.scratch + 100, 3)
    expect([...p.bytes(p.scratch + 100, 3)]).toEqual([1, 0, 0])
  })
  test('a removed file lives until its last descriptor closes, then its memory is free', () => {
    const p = fresh()
    const used = p.kernel.pages.used
    const fd = open(p, '/tmp/f', 0o102)
    p.call(write, fd, p.scratch, 0x8000)
    expect(p.kernel.pages.used).toBeGreaterThan(used)
    p.call(unlink, p.text('/tmp/f'))
    expect(p.call(lseek, fd, 0, 2)).toBe(0x8000)
    const before = p.kernel.pages.used
    p.call(close, fd)
    expect(before - p.kernel.pages.used).toBe(8)
  })
  test('directories: EEXIST, ENOTDIR, ENOTEMPTY, dot-dot', () => {
    const p = fresh()
    expect(p.call(mkdir, p.text('/tmp/d'), 0o755)).toBe(0)
    expect(p.call(mkdir, p.text('/tmp/d'), 0o755)).toBe(-E.EEXIST)
    open(p, '/tmp/d/f', 0o102)
    expect(open(p, '/tmp/d/f/g')).toBe(-E.ENOTDIR)
    expect(p.call(84, p.text('/tmp/d'))).toBe(-E.ENOTEMPTY)
    expect(open(p, '/tmp/../tmp/./d/f')).toBeGreaterThanOrEqual(0)
  })
  test('symbolic links: followed, not followed, looping', () => {
    const p = fresh()
    open(p, '/tmp/target', 0o102)
    expect(p.call(88, p.text('target'), p.text('/tmp/link', 0x9000))).toBe(0)
    expect(open(p, '/tmp/link')).toBeGreaterThanOrEqual(0)
    expect(open(p, '/tmp/link', 0o400000)).toBe(-E.ELOOP)
    p.call(88, p.text('loop'), p.text('/tmp/loop', 0x9000))
    expect(open(p, '/tmp/loop')).toBe(-E.ELOOP)
    expect(p.call(readlink, p.text('/tmp/link'), p.scratch, 100)).toBe(6)
  })
})

describe('descriptors', () => {
  test('a closed one is EBADF everywhere', () => {
    const p = fresh()
    for (const nr of [read, write, close, lseek, ioctl, fcntl]) expect(p.call(nr, 77, p.scratch, 1)).toBe(-E.EBADF)
    expect(p.call(fcntl, 77, 1)).toBe(-E.EBADF)
  })
  test('the lowest free number is taken; RLIMIT_NOFILE is EMFILE', () => {
    const p = fresh()
    const a = open(p, '/dev/null')
    const b = open(p, '/dev/null')
    p.call(close, a)
    expect(open(p, '/dev/zero')).toBe(a)
    p.task.group.limits.soft[7] = b + 1
    expect(open(p, '/dev/null')).toBe(-E.EMFILE)
  })
  test('dup shares the position, F_DUPFD starts at its argument', () => {
    const p = fresh()
    const fd = open(p, '/tmp/f', 0o102)
    const twin = p.call(32, fd)
    p.call(write, fd, p.scratch, 5)
    expect(p.call(lseek, twin, 0, 1)).toBe(5)
    expect(p.call(fcntl, fd, 0, 20)).toBe(20)
  })
  test('a write to a read-only descriptor is EBADF', () => {
    const p = fresh()
    expect(p.call(write, open(p, '/dev/zero', 0), p.scratch, 1)).toBe(-E.EBADF)
  })
  test('bad memory is EFAULT, not a crash', () => {
    const p = fresh()
    const fd = open(p, '/dev/zero')
    expect(p.call(read, fd, 0x10, 8)).toBe(-E.EFAULT)
    expect(p.call(read, fd, -4096, 8)).toBe(-E.EFAULT)
    expect(p.call(openat, AT_FDCWD, 0x10, 0)).toBe(-E.EFAULT)
  })
  test('devices: /dev/null swallows, /dev/zero gives zeroes, /dev/full is ENOSPC', () => {
    const p = fresh()
    expect(p.call(write, open(p, '/dev/null', 1), p.scratch, 1000)).toBe(1000)
    expect(p.call(read, open(p, '/dev/null'), p.scratch, 1000)).toBe(0)
    expect(p.call(write, open(p, '/dev/full', 1), p.scratch, 1)).toBe(-E.ENOSPC)
  })
})

describe('pipes and eventfd', () => {
  test('a pipe carries bytes; after the writer closed the reader sees the end', () => {
    const p = fresh()
    expect(p.call(pipe2, p.scratch, 0)).toBe(0)
    const [reader, writer] = [p.task.mm.getUser32(p.scratch), p.task.mm.getUser32(p.scratch + 4)]
    p.write(p.scratch, [1, 2, 3])
    expect(p.call(write, writer, p.scratch, 3)).toBe(3)
    expect(p.call(read, reader, p.scratch + 16, 100)).toBe(3)
    p.call(close, writer)
    expect(p.call(read, reader, p.scratch, 1)).toBe(0)
  })
  test('an empty non-blocking pipe is EAGAIN, a broken one EPIPE and SIGPIPE', () => {
    const p = fresh()
    p.call(pipe2, p.scratch, 0o4000)
    const [reader, writer] = [p.task.mm.getUser32(p.scratch), p.task.mm.getUser32(p.scratch + 4)]
    expect(p.call(read, reader, p.scratch, 1)).toBe(-E.EAGAIN)
    p.call(close, reader)
    expect(p.call(write, writer, p.scratch, 1)).toBe(-E.EPIPE)
    expect(p.task.pending.set.has(13)).toBe(true)
  })
  test('eventfd adds up, EFD_SEMAPHORE takes one at a time', () => {
    const p = fresh()
    const fd = p.call(eventfd2, 2, 0o4001)
    expect(p.call(read, fd, p.scratch, 8)).toBe(8)
    expect(p.task.mm.getUserLong(p.scratch)).toBe(1)
    p.call(read, fd, p.scratch, 8)
    expect(p.call(read, fd, p.scratch, 8)).toBe(-E.EAGAIN)
    expect(p.call(read, fd, p.scratch, 4)).toBe(-E.EINVAL)
  })
})

describe('binds', () => {
  test('show one file at a place, and nothing beside it', () => {
    const p = fresh()
    p.kernel.bind('/data/in/file', oneFile(Uint8Array.of(104, 105), 0o100644))
    expect(contents(p, '/data/in/file')).toBe('hi')
    expect(open(p, '/data/in/other')).toBe(-E.ENOENT)
    expect(open(p, '/data/in/file', 2)).toBe(-E.EROFS)
  })
  test('may lie inside tmpfs', () => {
    const p = fresh()
    p.kernel.bind('/tmp/deep/file', oneFile(Uint8Array.of(120), 0o100644))
    expect(contents(p, '/tmp/deep/file')).toBe('x')
  })
})

test('a standard stream that is no terminal is a pipe to fstat and ENOTTY to TCGETS [LUX-15]', () => {
  const p = fresh()
  const fd = p.task.files.install(p.task, new HostStream(1, '/dev/stdout', null, { write() {} }), false)
  p.call(5, fd, p.scratch)
  expect(p.task.mm.getUser32(p.scratch + 24) & 0o170000).toBe(0o010000)
  expect(p.call(ioctl, fd, 0x5401, p.scratch)).toBe(-E.ENOTTY)
})
