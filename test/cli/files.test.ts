import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exec, fixture, Scratch } from './command.ts'

/*
 * secret/            nobody may see it
 *   file
 * shown/             what --bind shows
 *   file
 *   below/file
 *   out -> ../secret
 *   file-out -> ../secret/file
 *   absolute-out -> /…/secret/file
 *   in -> below/file
 */
const scratch = new Scratch()
const SECRET = 'SECRET OF THE HOST\n'
const shown = scratch.at('shown')

/** A copy of the program in a folder of its own, outside of /tmp, /dev and /run, which the model has itself. */
const own = join(ownFolder(), 'files')

function ownFolder(): string {
  for (const parent of ['/var/tmp', process.cwd(), homedir(), '/opt']) {
    if (/^\/(tmp|dev|run)(\/|$)/.test(parent)) continue
    try {
      return mkdtempSync(join(parent, '.worldswitch-test-'))
    } catch {
      // Not ours to write in.
    }
  }
  throw new Error('no writable folder outside of /tmp, /dev and /run for a copy of the test program')
}

beforeAll(() => {
  copyFileSync(fixture('files'), own)
  mkdirSync(scratch.at('secret'))
  scratch.write('secret/file', SECRET, 0o644)
  mkdirSync(`${shown}/below`, { recursive: true })
  scratch.write('shown/file', 'shown\n', 0o644)
  scratch.write('shown/below/file', 'below\n', 0o644)
  symlinkSync('../secret', `${shown}/out`)
  symlinkSync('../secret/file', `${shown}/file-out`)
  symlinkSync(scratch.at('secret/file'), `${shown}/absolute-out`)
  symlinkSync('below/file', `${shown}/in`)
})
afterAll(() => {
  scratch.remove()
  rmSync(join(own, '..'), { recursive: true, force: true })
})

const ENOENT = -2
const EXDEV_OR_EACCES = /^rename -(13|18)\n$/
const EROFS = -30

/** Runs `files` with the binds; what it printed. */
async function files(binds: string[], ...words: string[]): Promise<string> {
  const ran = await exec(
    binds.flatMap((bind) => ['--bind', bind]),
    own,
    words,
  )
  expect(ran).toMatchObject({ status: 0, stderr: '' })
  return ran.stdout
}

describe('without a bind a program sees its own file and nothing else of this machine', () => {
  test.concurrent('no file, no directory, whoever asks how', async () => {
    const secret = scratch.at('secret/file')
    const paths = [
      secret,
      `.${secret}`,
      `../../../../../..${secret}`,
      `/proc/self/root${secret}`,
      `/proc/self/cwd/../..${secret}`,
      '/etc/shadow',
      '/root',
      '/home',
    ].filter((path) => !own.startsWith(`${path}/`))
    const printed = await files([], ...paths.flatMap((path) => ['show', path]))
    expect(printed).toBe(` ${ENOENT}\n`.repeat(paths.length))
  })
  test.concurrent("/etc/passwd is the model's", async () => {
    expect(await files([], 'show', '/etc/passwd')).toBe('root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n')
  })
  test.concurrent('its own file, read-only, under its own name and as /proc/self/exe', async () => {
    const words = [
      'magic',
      own,
      'magic',
      '/proc/self/exe',
      'readlink',
      '/proc/self/exe',
      'write',
      own,
      'truncate',
      own,
      'unlink',
      own,
    ]
    expect(await files([], ...words)).toBe(
      `magic 7f454c46\nmagic 7f454c46\n${own}\nreadlink 0\nwrite ${EROFS}\ntruncate ${EROFS}\nunlink -13\n`,
    )
    expect(statSync(own).size).toBeGreaterThan(1000)
  })
  test.concurrent('nor what lies beside it', async () => {
    const folder = join(own, '..')
    writeFileSync(join(folder, 'beside'), SECRET)
    expect(await files([], 'list', folder, 'show', join(folder, 'beside'))).toBe(`files \n ${ENOENT}\n`)
  })
  test.concurrent('its descriptors are its streams', async () => {
    expect(await files([], 'list', '/proc/self/fd')).toBe('0 1 2 3 \n')
  })
})

describe('--bind DIR[:AT][:ro]', () => {
  test.concurrent('shows a directory at its own path, or at another', async () => {
    expect(await files([shown], 'show', `${shown}/file`, 'show', `${shown}/below/file`)).toBe('shown\nbelow\n')
    expect(await files([`${shown}:/data`], 'show', '/data/file', 'show', `${shown}/file`)).toBe(`shown\n ${ENOENT}\n`)
    expect(await files([`${shown}:/data`], 'list', '/data')).toBe('absolute-out below file file-out in out \n')
  })
  test.concurrent('shows a single file', async () => {
    expect(await files([`${shown}/file:/data/one`], 'show', '/data/one', 'list', '/data')).toBe('shown\none \n')
  })
  test.concurrent(':ro refuses every change with EROFS', async () => {
    const words = [
      'show',
      '/data/file',
      'write',
      '/data/file',
      'truncate',
      '/data/file',
      'create',
      '/data/new',
      'mkdir',
      '/data/new',
    ]
    const more = ['unlink', '/data/file', 'rmdir', '/data/below', 'rename', '/data/file', '/data/moved', 'show', '/data/file']
    const refused = ['write', 'truncate', 'create', 'mkdir', 'unlink', 'rmdir', 'rename']
      .map((word) => `${word} ${EROFS}\n`)
      .join('')
    expect(await files([`${shown}:/data:ro`], ...words, ...more)).toBe(`shown\n${refused}shown\n`)
    expect(readdirSync(shown).sort()).toEqual(['absolute-out', 'below', 'file', 'file-out', 'in', 'out'])
  })
  test.concurrent('without :ro changes are real', async () => {
    mkdirSync(scratch.at('workshop'))
    const at = scratch.at('workshop')
    const words = [
      'mkdir',
      '/w/d',
      'create',
      '/w/d/a',
      'rename',
      '/w/d/a',
      '/w/b',
      'rmdir',
      '/w/d',
      'show',
      '/w/b',
      'create',
      '/w/c',
      'unlink',
      '/w/c',
    ]
    expect(await files([`${at}:/w`], ...words)).toBe('mkdir 0\ncreate 8\nrename 0\nrmdir 0\nwritten\ncreate 8\nunlink 0\n')
    expect(readdirSync(at)).toEqual(['b'])
    expect(scratch.read('workshop/b')).toBe('written\n')
  })
  test.concurrent('file names that are not ASCII, and not text', async () => {
    mkdirSync(scratch.at('names'))
    scratch.write('names/été', 'summer\n', 0o644)
    expect(await files([`${scratch.at('names')}:/été`], 'show', '/été/été', 'create', '/été/прог')).toBe('summer\ncreate 8\n')
    expect(readdirSync(scratch.at('names')).sort()).toEqual(['été', 'прог'])
  })
})

describe('nothing leads out of a bind', () => {
  test.concurrent('`..` stays in the tree of the model', async () => {
    const paths = ['/data/../secret/file', '/data/below/../../secret/file', '/data/../../../../secret/file']
    expect(await files([`${shown}:/data`], ...paths.flatMap((path) => ['show', path]))).toBe(` ${ENOENT}\n`.repeat(3))
    expect(await files([`${shown}:/data`], 'enter', '/data/below', 'show', '../file', 'show', '../../secret/file')).toBe(
      `shown\n ${ENOENT}\n`,
    )
    expect(await files([`${shown}:/data`], 'chdir', '/data/below', 'show', '../../secret/file')).toBe(`chdir 0\n ${ENOENT}\n`)
  })
  test.concurrent('symbolic links are walked in the model: those that lead outside lead nowhere', async () => {
    const words = ['show', '/data/in', 'show', '/data/out/file', 'show', '/data/file-out', 'show', '/data/absolute-out']
    expect(await files([`${shown}:/data`], ...words)).toBe(`below\n${` ${ENOENT}\n`.repeat(3)}`)
    // Nor do they make files there.
    expect(
      await files([`${shown}:/data`], 'write', '/data/file-out', 'create', '/data/out/new', 'truncate', '/data/file-out'),
    ).toBe(`write ${ENOENT}\ncreate ${ENOENT}\ntruncate ${ENOENT}\n`)
    expect(scratch.read('secret/file')).toBe(SECRET)
    expect(readdirSync(scratch.at('secret'))).toEqual(['file'])
  })
  test.concurrent('a link that is put in the place of an open directory is not followed', async () => {
    const trap = scratch.at('trap')
    mkdirSync(`${trap}/door`, { recursive: true })
    symlinkSync(scratch.at('secret'), `${trap}/bait`)
    const words = [
      'enter',
      '/trap/door',
      'rmdir',
      '/trap/door',
      'rename',
      '/trap/bait',
      '/trap/door',
      'show',
      'file',
      'create',
      'new',
      'list',
      '.',
    ]
    const printed = await files([`${trap}:/trap`], ...words)
    expect(printed).not.toContain('SECRET')
    expect(printed).toContain('rmdir 0\nrename 0\n')
    expect(existsSync(scratch.at('secret/new'))).toBe(false)
  })
  test.concurrent('the same through the working directory', async () => {
    const trap = scratch.at('trap2')
    mkdirSync(`${trap}/door/inner`, { recursive: true })
    symlinkSync(scratch.at('secret'), `${trap}/bait`)
    const words = [
      'chdir',
      '/trap/door/inner',
      'rmdir',
      '/trap/door/inner',
      'rmdir',
      '/trap/door',
      'rename',
      '/trap/bait',
      '/trap/door',
    ]
    const printed = await files([`${trap}:/trap`], ...words, 'show', '../file', 'show', 'file', 'create', '../new')
    expect(printed).toContain('rmdir 0\nrmdir 0\nrename 0\n')
    expect(printed).not.toContain('SECRET')
    expect(existsSync(scratch.at('secret/new'))).toBe(false)
  })
  test.concurrent('no links are made: not symbolic ones, not hard ones', async () => {
    const words = ['symlink', '/etc/passwd', `${shown}/made`, 'link', `${shown}/file`, `${shown}/made`]
    expect(await files([shown], ...words)).toMatch(/^symlink -\d+\nlink -\d+\n$/)
    expect(existsSync(`${shown}/made`)).toBe(false)
  })
  test.concurrent('nothing moves from one bind to another', async () => {
    mkdirSync(scratch.at('other'))
    expect(await files([`${shown}:/a`, `${scratch.at('other')}:/b`], 'rename', '/a/file', '/b/file')).toMatch(EXDEV_OR_EACCES)
    // Not even from a writable bind into a place that is shown read-only.
    expect(await files([`${shown}:/a`, `${scratch.at('other')}:/b:ro`], 'rename', '/a/file', '/b/file')).toMatch(
      /^rename -(13|18|30)\n$/,
    )
    expect(scratch.read('shown/file')).toBe('shown\n')
  })
  test.concurrent('pipes, sockets and devices in a bind are not there', async () => {
    expect(await files(['/dev:/outside:ro'], 'show', '/outside/null', 'show', '/outside/zero')).toBe(` ${ENOENT}\n`.repeat(2))
  })
})
