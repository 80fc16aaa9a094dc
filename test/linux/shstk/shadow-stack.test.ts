import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { spawn } from '../../../src/linux/exec/spawn.ts'
import { cpuinfo } from '../../../src/linux/fs/cpuinfo.ts'
import { InputSource } from '../../../src/linux/fs/host-stream.ts'
import { bootHost, CallingProcess, E, type TestHostOptions } from '../host.ts'
import { oneFile, values } from '../programs.ts'

const PROGRAM = readFileSync(new URL('../../fixtures/cet/shadow-stack.elf', import.meta.url))

/** Runs one scenario of test/fixtures/cet/shadow-stack.c to its end. */
function run(scenario: string, options: TestHostOptions = {}) {
  const kernel = bootHost(options)
  kernel.bind('/opt/shadow-stack', oneFile(PROGRAM))
  let output = ''
  const sink = { write: (bytes: Uint8Array) => void (output += String.fromCharCode(...bytes)) }
  const stdin = new InputSource()
  stdin.end()
  const argv = ['/opt/shadow-stack', scenario]
  spawn(kernel, { path: argv[0], argv, envp: [], stdin, stdout: sink, stderr: sink })
  for (let slice = 0; slice < 50; slice++) {
    const state = kernel.runSlice(1_000_000)
    if (state.state !== 'running') {
      return { status: state.state === 'exited' ? state.status : state.state, output, values: values(output) }
    }
  }
  return { status: 'too long', output, values: values(output) }
}

const arch_prctl = 158
const map_shadow_stack = 453
const mmap = 9
const mprotect = 10
const munmap = 11
const [ENABLE, DISABLE, LOCK, UNLOCK, STATUS] = [0x5001, 0x5002, 0x5003, 0x5004, 0x5005]

describe('programs with a shadow stack', () => {
  test('enable, status, lock; calls push 8 bytes each [LUX-33]', () => {
    expect(run('e').values).toMatchObject({
      wrss_first: E.EPERM,
      both: E.EINVAL,
      off: 0,
      status: 1,
      depth: 32,
      locked: E.EPERM,
    })
  })
  test('an ordinary store is SEGV_ACCERR, WRSS is #UD until it is enabled, then writes [LUX-34]', () => {
    const { output, values: v } = run('w')
    expect(output).toMatch(/^signal=0xb\ncode=0x2\ntrapno=0xe\nerror=0x7\n/)
    expect(output).toMatch(/signal=0x4\ncode=0x2\ntrapno=0x6\nerror=0x0\n/)
    expect(v).toMatchObject({ word: 0x77, top: 0x1001 })
  })
  test('RSTORSSP and SAVEPREVSSP go to a mapped area by its token, and back [LUX-34]', () => {
    expect(run('r').values).toMatchObject({ ssp: 0x2000, depth: 24, back: 0 })
  })
  test('a changed return address is SIGSEGV SEGV_CPERR with trap 21; the handler finds restorer and token [LUX-35, LUX-40]', () => {
    const { output, values: v } = run('c')
    expect(v).toMatchObject({ signal: 11, code: 10, trapno: 21, error: 1, pushed: 24, restorer: 1 })
    expect(output).toMatch(/after\n$/)
    expect(run('k').status).toBe(11)
  })
  test('signal delivery pushes two words and sigreturn takes them off; a token without bit 63 is deadly [LUX-35]', () => {
    expect(run('s').values).toMatchObject({ inside: 16, after: 0 })
    expect(run('t')).toMatchObject({ status: 11, output: '' })
  })
  test('threads on two processors have areas of their own, which go with them [LUX-35]', () => {
    expect(run('p', { processors: 2 }).values).toMatchObject({ good: 1204, apart: 4, gone: 4, ssp: 0 })
  })
  test('fork copies the shadow stack; what the child writes the parent does not see [LUX-35]', () => {
    expect(run('f').values).toMatchObject({ child: 6, depth: 16, parent: 5, status: 0, off: 0 })
  })
  test('no shadow stacks: before 6.6 EINVAL, on a processor without them EOPNOTSUPP [LUX-33, LUX-36]', () => {
    expect(run('s', { profile: 'linux-6.1' }).values).toMatchObject({ refused: E.EINVAL })
    expect(run('s', { cpu: 'SapphireRapids,-shstk' }).values).toMatchObject({ refused: E.EOPNOTSUPP })
  })
})

describe('map_shadow_stack [LUX-34]', () => {
  const fresh = () => new CallingProcess(bootHost())
  const GIB = 2 ** 30
  test.each([
    ['size 0', [0, 0, 0], E.EINVAL],
    ['a size that is no multiple of 8, with a token', [0, 4097, 1], E.EINVAL],
    ['no room for the token', [0, 7, 1], E.ENOSPC],
    ['an unknown flag', [0, 4096, 2], E.EINVAL],
    ['an address below 4 GiB', [0x70000000, 4096, 0], E.ERANGE],
    ['an address that is not a page', [4 * GIB + 1, 4096, 0], E.EINVAL],
    ['a size that wraps', [0, -1, 0], E.EOVERFLOW],
    ['more than the machine has', [0, GIB, 0], E.ENOMEM],
  ])('%s is refused', (_what, args, errno) => {
    expect(fresh().call(map_shadow_stack, ...args)).toBe(-errno)
  })
  test('the token lies at the end of the size asked for', () => {
    const p = fresh()
    const at = p.call(map_shadow_stack, 8 * GIB, 16, 1)
    expect(at).toBe(8 * GIB)
    expect(p.task.mm.getUserLong(at + 8)).toBe(at + 16 + 1)
    expect(p.call(map_shadow_stack, 8 * GIB, 16, 1)).toBe(-E.EEXIST)
  })
  test('system calls cannot write it, /proc/self/mem can', () => {
    const p = fresh()
    const at = p.call(map_shadow_stack, 0, 4096, 0)
    expect(p.task.mm.putUser64(at, 1, 2)).toBe(false)
    expect(p.task.mm.forceCopyToUser(at, Uint8Array.of(7), 0, 1)).toBe(1)
    expect(p.bytes(at, 1)[0]).toBe(7)
  })
  test('mprotect makes it read-only and writable again, a shadow stack all the time', () => {
    const p = fresh()
    const at = p.call(map_shadow_stack, 0, 4096, 0)
    expect(p.task.mm.putShadowStack(at, 5)).toBe(true)
    expect(p.call(mprotect, at, 4096, 1)).toBe(0)
    expect(p.task.mm.putShadowStack(at, 6)).toBe(false)
    expect(p.call(mprotect, at, 4096, 3)).toBe(0)
    expect(p.task.mm.putShadowStack(at, 6)).toBe(true)
    expect(p.task.mm.putUser64(at, 1, 2)).toBe(false)
  })
  test('a page stays free below it, for its own placement and for later mappings', () => {
    const p = fresh()
    const free = p.call(mmap, 0, 0x4000, 3, 0x22, -1, 0)
    expect(p.call(munmap, free, 0x4000)).toBe(0)
    const area = p.call(map_shadow_stack, free + 0x2000, 0x1000, 0)
    expect(area).toBe(free + 0x2000)
    expect(p.call(mmap, 0, 0x1000, 3, 0x22, -1, 0)).toBe(free + 0x3000)
    expect(p.call(mmap, 0, 0x1000, 3, 0x22, -1, 0)).toBe(free)
    expect(p.call(map_shadow_stack, 0, 0x1000, 0)).toBe(free - 0x1000)
    expect(p.call(map_shadow_stack, 0, 0x1000, 0)).toBe(free - 0x3000)
  })
  test('a write-protected ordinary page never looks like one of a shadow stack', () => {
    const p = fresh()
    const at = p.call(mmap, 0, 4096, 3, 0x22, -1, 0)
    p.write(at, [1])
    p.call(mprotect, at, 4096, 1)
    const entry = p.task.mm.mem.i32[p.task.mm.table.find(at)]
    expect(entry & 0x42).toBe(0)
  })
})

describe('arch_prctl ARCH_SHSTK_* [LUX-33]', () => {
  test('UNLOCK of oneself is taken as ENABLE; LOCK keeps all 64 bits', () => {
    const p = new CallingProcess(bootHost())
    expect(p.call(arch_prctl, UNLOCK, 1)).toBe(0)
    expect(p.call(arch_prctl, STATUS, p.scratch)).toBe(0)
    expect(p.bytes(p.scratch, 8)).toEqual(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0))
    expect(p.call(arch_prctl, DISABLE, 1)).toBe(0)
    expect(p.call(arch_prctl, DISABLE, 1)).toBe(0)
    expect(p.call(arch_prctl, DISABLE, 2)).toBe(-E.EPERM)
    expect(p.call(arch_prctl, LOCK, -(2 ** 63))).toBe(0)
    expect(p.call(arch_prctl, ENABLE, -(2 ** 63))).toBe(-E.EPERM)
    expect(p.call(arch_prctl, ENABLE, 4)).toBe(-E.EINVAL)
    expect(p.call(arch_prctl, STATUS, 8)).toBe(-E.EFAULT)
  })
  test('turning it off gives the memory back', () => {
    const p = new CallingProcess(bootHost())
    const before = p.task.mm.vmas.all.length
    expect(p.call(arch_prctl, ENABLE, 1)).toBe(0)
    expect(p.task.mm.vmas.all.some((vma) => vma.shadowStack && vma.end - vma.start === 8 << 20)).toBe(true)
    expect(p.call(arch_prctl, DISABLE, 1)).toBe(0)
    expect(p.task.mm.vmas.all.length).toBe(before)
  })
  test('a refusal says why', () => {
    const p = new CallingProcess(bootHost())
    p.call(arch_prctl, ENABLE, 2)
    expect(p.task.refusal).toMatchObject({ rule: 'LUX-33' })
  })
  test('/proc/cpuinfo has user_shstk only where it can be used [LUX-36]', () => {
    expect(cpuinfo(bootHost())).toContain(' user_shstk')
    expect(cpuinfo(bootHost({ profile: 'linux-6.1' }))).not.toContain('shstk')
  })
})
